//! The conformance suite, with the shipped kernels on a GPU that is played on the CPU.

mod common;

seq2seq_core::conformance_suite!(Some(common::cuda()));
seq2seq_core::training_suite!(Some(common::cuda()));
