//! Hand-tuned SIMD backend of the `seq2seq` engine.

pub mod isa;
mod simd;
mod threads;
