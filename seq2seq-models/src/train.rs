//! What training is made of besides gradients.
//!
//! | module | holds |
//! |---|---|
//! | [`metrics`] | how good generated text is against references |

pub mod metrics;
