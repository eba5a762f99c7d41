//! Hand-tuned SIMD backend of the `seq2seq` engine.

mod gemm;
pub mod isa;
mod kernels;
mod memory;
mod simd;
mod threads;
