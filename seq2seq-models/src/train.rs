//! Training: a model that learns, and what it learns from and is measured by.
//!
//! | module | holds |
//! |---|---|
//! | `learner.rs` | [`Learner`]: a pass forward and back, parameters under their checkpoint's names, steps |
//! | [`data`] | rows from files, in ragged batches |
//! | [`tokenizers`] | tokenizers made anew |
//! | [`denoise`] | corrupted texts to be restored |
//! | [`schedule`] | the learning rate from step to step |
//! | [`metrics`] | how good generated text is against references |
//! | [`random`] | numbers that can be taken up again at any point |

pub mod data;
pub mod denoise;
mod learner;
pub mod metrics;
pub mod random;
pub mod schedule;
pub mod tokenizers;

pub(crate) use learner::Learning;
pub use learner::{Batch, Learner, ParameterInfo, PassOptions};
