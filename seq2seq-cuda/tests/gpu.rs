//! The conformance suite on a real GPU: `SEQ2SEQ_GPU=0 cargo test -p seq2seq-cuda --test gpu`. Without the variable every check
//! passes, having said that it was skipped; with it, a GPU that cannot be opened fails them all.

use seq2seq_cuda::Cuda;
use std::sync::OnceLock;

/// The GPU that the variable names, opened once.
fn gpu() -> Option<Cuda> {
    static GPU: OnceLock<Option<Cuda>> = OnceLock::new();
    let open = || {
        let number = std::env::var("SEQ2SEQ_GPU").ok()?;
        let number = number.parse().unwrap_or_else(|e| panic!("SEQ2SEQ_GPU={number}: {e}"));
        Some(Cuda::new(number).unwrap_or_else(|error| panic!("SEQ2SEQ_GPU={number}: {error}")))
    };
    GPU.get_or_init(open).clone()
}

seq2seq_core::conformance_suite!(gpu());
seq2seq_core::training_suite!(gpu());

/// Two handles of one GPU, taking turns, give the same bits from run to run.
#[test]
fn runs_give_the_same_bits() -> seq2seq_core::conformance::Outcome {
    match gpu() {
        Some(gpu) => {
            seq2seq_core::conformance::same_bits(&gpu, &gpu)?;
            seq2seq_core::conformance::train::same_bits(&gpu, &gpu)
        }
        None => Ok(()),
    }
}
