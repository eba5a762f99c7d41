//! The loops of the operations other than products, each written once over [`Simd`](crate::simd::Simd).

pub(crate) mod additive;
pub(crate) mod attention;
pub(crate) mod backward;
pub(crate) mod choose;
pub(crate) mod dropout;
pub(crate) mod log_softmax;
pub(crate) mod norm;
pub(crate) mod quantise;
pub(crate) mod round;
pub(crate) mod round_f16;
