//! What training is made of besides gradients.
//!
//! | module | holds |
//! |---|---|
//! | [`data`] | rows from files, in ragged batches |
//! | [`tokenizers`] | tokenizers made anew |
//! | [`denoise`] | corrupted texts to be restored |
//! | [`schedule`] | the learning rate from step to step |
//! | [`metrics`] | how good generated text is against references |
//! | [`random`] | numbers that can be taken up again at any point |

pub mod data;
pub mod denoise;
pub mod metrics;
pub mod random;
pub mod schedule;
pub mod tokenizers;
