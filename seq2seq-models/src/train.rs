//! Training: a model that learns, and what it learns from and is measured by.
//!
//! | module | holds |
//! |---|---|
//! | `learner.rs` | [`Learner`]: a pass forward and back, parameters under their checkpoint's names, steps |
//! | [`vae`] | [`VaeSettings`]: sentence variational autoencoders |
//! | `sampling.rs` | [`Sampling`]: decoders that read what they would have written |
//! | `lora.rs` | [`LoraOptions`]: low-rank adapters, saved and read as peft does |
//! | [`data`] | rows from files, in ragged batches |
//! | [`tokenizers`] | tokenizers made anew |
//! | [`denoise`] | corrupted texts to be restored |
//! | [`schedule`] | the learning rate from step to step |
//! | [`metrics`] | how good generated text is against references |
//! | [`random`] | numbers that can be taken up again at any point |
//! | [`settings`] | what a training is told |
//! | `new_model.rs` | [`NewModel`]: models that nobody has trained yet |
//! | [`trainer`] | [`Trainer`]: from settings to a folder that serves |
//! | `checkpoint.rs` | a training as a file, from which it goes on |

mod average;
mod checkpoint;
pub mod data;
pub mod denoise;
mod evaluation;
mod learner;
mod log;
mod lora;
pub mod metrics;
mod new_model;
mod objective;
pub mod random;
mod sampling;
mod save;
pub mod schedule;
pub mod settings;
pub mod tokenizers;
pub mod trainer;
pub mod vae;

pub use evaluation::{Evaluation, LatentEvaluation, Sample};
pub(crate) use learner::Learning;
pub use learner::{Batch, Learner, OptimiserTensor, OptimiserValues, ParameterInfo, PassOptions};
pub use log::{LatentReport, StepReport};
pub use lora::LoraOptions;
pub use new_model::NewModel;
pub use sampling::{Sampling, SamplingSettings, TruthDecay};
pub use settings::{Architecture, SavedType, Settings};
pub use trainer::{Observer, Trainer};
pub use vae::{Annealing, Elbo, LatentPass, VaeSettings};
