//! The conformance suite on a real GPU: `SEQ2SEQ_GPU=0 cargo test -p seq2seq-cuda --test gpu`. Without the variable every check
//! passes, having said that it was skipped; with it, a GPU that cannot be opened fails them all.

mod common;
mod decoder;

use common::readers::{Attended, Normed};
use common::recurrent::Case;
use common::tiles::{Product, Sizes};
use common::{attend, attend_back};
use decoder::{Decoder, Step};
use seq2seq_core::{Backend, Cell, Format};
use seq2seq_cuda::driver::Nvidia;
use seq2seq_cuda::{Cuda, CudaOptions};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// The GPU that the variable names, opened once.
fn gpu() -> Option<Cuda> {
    static GPU: OnceLock<Option<Cuda>> = OnceLock::new();
    GPU.get_or_init(|| open(CudaOptions::default())).clone()
}

/// The GPU that the variable names.
fn open(options: CudaOptions) -> Option<Cuda> {
    let number = std::env::var("SEQ2SEQ_GPU").ok()?;
    let number = number.parse().unwrap_or_else(|e| panic!("SEQ2SEQ_GPU={number}: {e}"));
    let driver = Nvidia::open(number).unwrap_or_else(|e| panic!("SEQ2SEQ_GPU={number}: {e}"));
    Some(Cuda::with_driver(Arc::new(driver), options))
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
        (Format::F16, true),
        (Format::Bf16, false),
        (Format::Bf16, true),
        (Format::Int8, false),
        (Format::Int8, true),
        (Format::Int4, true),
    ] {
        product.rows_have_the_same_bits(&gpu, (format, gated), &parts);
    }
}

/// Sums of int8 are exact: whichever of its matrix units a GPU has, it gives the bits of the played one, which takes mma.sync.
/// Without an activation, whose exponential a GPU may round as it likes.
#[test]
fn int8_has_the_bits_of_mma_sync() {
    let Some(gpu) = gpu() else { return };
    let played = common::cuda();
    let product = Product::new(Sizes { rows: 141, input: 300, output: 530 });
    for gated in [false, true] {
        let run = |cuda: &Cuda, rows: Range<usize>| {
            let layer = cuda.pack(&product.layer(gated), Format::Int8).unwrap();
            let y = product.run_with(None, cuda, &layer, rows);
            y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        for rows in [0..1, 1..9, 9..40, 0..141] {
            assert_eq!(run(&gpu, rows.clone()), run(&played, rows.clone()), "rows {rows:?}");
        }
    }
}

/// So in attention in bf16, which whole sequences, passes and steps take to other kernels; and what a row does not see stays out
/// of it where the products of the unit have it.
#[test]
fn rows_attend_to_the_same_bits_in_any_number() {
    let Some(gpu) = gpu() else { return };
    for width in [20, 32, 50, 64, 128, 200, 256] {
        attend::rows_have_the_same_bits(&gpu, width);
        attend::a_batch_has_the_same_bits(&gpu, width, 200);
        for spec in [attend::spec(width), attend::of_group(16, width), attend::of_group(32, width)]
        {
            attend::unseen_values_are_not_met(&gpu, &spec, 62, f32::INFINITY);
            attend::unseen_values_are_not_met(&gpu, &spec, 8, f32::NAN);
            // A product of 0 and a large number is not to take bits from the others of its sum.
            attend::unseen_values_are_not_met(&gpu, &spec, 33, 1e30);
        }
    }
}

/// So in training: gradients are those of rounded factors, of a sequence alone those of it in a batch, and meet nothing that a row
/// does not see.
#[test]
fn attention_in_bf16_goes_back() {
    let Some(gpu) = gpu() else { return };
    for width in [20, 32, 50, 64, 100, 128, 200, 256] {
        for kind in attend_back::kinds() {
            attend_back::factors_are_rounded(&gpu, width, kind);
        }
        for (heads, causal) in [((2, 1), true), ((1, 1), false)] {
            let spec = attend_back::in_bf16(attend_back::spec(heads, width, causal));
            attend_back::results_are_those_of_inference(&gpu, &spec);
            attend_back::a_sequence_has_the_same_bits_alone(&gpu, &spec);
        }
        let causal = attend_back::in_bf16(attend_back::spec((2, 1), width, true));
        attend_back::unseen_rows_are_not_met(&gpu, &causal);
    }
}

/// What norms and attention lay out for the layers behind them, once one has had to do it, has the bits of what layers lay out.
#[test]
fn rows_that_are_laid_out_at_once_have_the_same_bits() {
    for case in Normed::cases() {
        let Some(gpu) = gpu() else { return };
        let run = case.on(&gpu);
        assert!(run() == run(), "{case:?}");
    }
    for case in Attended::cases() {
        // None that has seen a layer read what attention gave.
        let Some(gpu) = open(CudaOptions::default()) else { return };
        let run = case.clone().on(&gpu);
        assert!(run() == run(), "{case:?}");
    }
}

/// A sequence has the bits alone, and position by position, that it has among many, which blocks divide otherwise.
#[test]
fn recurrent_sequences_have_the_same_bits_in_any_number() {
    let Some(gpu) = gpu() else { return };
    let lengths: Vec<usize> = (0..100).map(|i| 1 + i * 7 % 24).collect();
    for cell in Cell::ALL {
        let sizes = [(Format::F32, 500), (Format::Bf16, 500)];
        let large = [(Format::F16, 1024), (Format::Bf16, 1024)];
        for (format, width) in sizes.into_iter().chain(large) {
            let case = Case { cell, format, width, directions: 1, lengths: lengths.clone() };
            case.sequences_have_the_same_bits(&gpu, &[0, 3, 99]);
        }
    }
}

/// Graphs do what single launches do, over a page and as a beam search parts; those whose kernels overlap what those do whose
/// kernels do not. Again and again, as what begins too early need not show the first time.
#[test]
fn graphs_give_the_bits_of_single_launches() {
    let others = [CudaOptions::default().graphs(false), CudaOptions::default().overlap(false)];
    let (Some(replaying), [Some(launching), Some(apart)]) = (gpu(), others.map(open)) else {
        return;
    };
    let mut steps = vec![Step::prefill([40, 3]), Step::next([0, 0, 1, 1])];
    steps.extend((0..60).map(|i| Step::next([[0, 1, 2, 3], [1, 0, 2, 2]][i % 11 / 10])));
    for format in Format::ALL {
        let decode = |cuda| {
            let mut decoder = Decoder::new(cuda, format, 2, 2);
            steps.iter().map(|step| decoder.step(step, 4)).collect::<Vec<_>>()
        };
        let singly = decode(&launching);
        assert_eq!(decode(&apart), singly, "{format}: a graph");
        for round in 0..10 {
            assert_eq!(decode(&replaying), singly, "{format}: kernels that overlap, round {round}");
        }
    }
}
