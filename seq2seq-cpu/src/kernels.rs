//! The loops of the operations other than products, each written once over [`Simd`](crate::simd::Simd).

pub(crate) mod quantise;
pub(crate) mod round;
