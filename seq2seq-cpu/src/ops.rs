//! The operations: checks, memory and the division of the work. The loops are in `kernels` and `gemm`.

pub(crate) mod additive;
pub(crate) mod attention;
pub(crate) mod backward;
pub(crate) mod cache;
pub(crate) mod columns;
pub(crate) mod cross;
pub(crate) mod embed;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod recurrent;
pub(crate) mod sample;
pub(crate) mod sample_k;
pub(crate) mod top_k;
pub(crate) mod windows;
