//! What training is made of besides gradients.
//!
//! | module | holds |
//! |---|---|
//! | [`schedule`] | the learning rate from step to step |
//! | [`metrics`] | how good generated text is against references |

pub mod metrics;
pub mod schedule;
