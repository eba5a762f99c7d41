//! Training: a model that learns, and what it learns from and is measured by.
//!
//! Where to begin: [`Trainer`] makes a folder that serves from [`Settings`] and files of rows, and goes on where it was killed.
//! [`Learner`] is for a loop of one's own: it takes a [`Batch`] of ids forward and back, and steps.
//!
//! | to | take |
//! |---|---|
//! | train by settings | [`Trainer`], which tells an [`Observer`] what happens; [`trainer`] says what it writes, [`settings`] what it is told |
//! | train step by step | [`Learner`], [`PassOptions`]; parameters have the names of their checkpoint |
//! | begin a model that nobody has trained yet | [`NewModel`], [`Architecture`], and a tokenizer of [`tokenizers`] |
//! | train little of a model | [`LoraOptions`]: low-rank adapters, saved and read as peft does |
//! | read rows from files, in ragged batches | [`data`] |
//! | corrupt texts that are to be restored | [`denoise`] |
//! | train sentence variational autoencoders | [`vae`] |
//! | have a decoder read what it would have written | [`Sampling`] |
//! | set the learning rate from step to step | [`schedule`] |
//! | measure generated text against references | [`metrics`] |
//! | draw numbers that can be taken up again at any point | [`random`] |

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
