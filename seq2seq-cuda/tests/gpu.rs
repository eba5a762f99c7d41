//! The conformance suite on a real GPU: `SEQ2SEQ_GPU=0 cargo test -p seq2seq-cuda --test gpu`. Without the variable every check
//! passes, having said that it was skipped; with it, a GPU that cannot be opened fails them all.

mod common;

use common::tiles::{Product, Sizes};
use seq2seq_core::Format;
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

/// A row has the bits alone that it has among thousands, which other kernels take.
#[test]
fn rows_have_the_same_bits_in_any_number() {
    let Some(gpu) = gpu() else { return };
    let product = Product::new(Sizes { rows: 4109, input: 1000, output: 2100 });
    // So many that 132 multiprocessors get tiles of every size.
    let parts = [0..1, 1..9, 9..25, 25..89, 100..228, 300..600, 1000..2300, 4000..4109];
    for (format, gated) in [
        (Format::F32, false),
        (Format::Bf16, false),
        (Format::Bf16, true),
        (Format::Int8, false),
        (Format::Int4, true),
    ] {
        product.rows_have_the_same_bits(&gpu, (format, gated), &parts);
    }
}
