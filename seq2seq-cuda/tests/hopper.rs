//! What is chosen on Hopper: the parts of the conformance suite that multiply in bf16 and int8, on a played GPU of that capability. Its
//! warps take turns at random, and its number of multiprocessors is such that several tiles are chosen.

mod common;

use seq2seq_core::conformance::{self, Outcome, train};
use seq2seq_core::{Backend, Epilogue, Format, HostTensor, LinearSpec};
use seq2seq_cuda::CudaOptions;
use std::sync::Arc;

macro_rules! checks {
    ($($test:ident: $check:path, $multiprocessors:literal;)+) => {$(
        #[test]
        fn $test() -> Outcome {
            $check(&common::hopper($multiprocessors, 1))
        }
    )+};
}

checks! {
    linear_matches_reference: conformance::linear::matches_reference, 2;
    linear_matches_reference_on_a_large_device: conformance::linear::matches_reference, 132;
    linear_activations_match: conformance::linear::activations_match, 132;
    linear_is_batch_invariant: conformance::linear::is_batch_invariant, 2;
    linear_propagates_nan: conformance::linear::propagates_nan, 2;
    feed_forward_gives_the_bits_of_two_layers: conformance::feed_forward::gives_the_bits_of_two_layers, 2;
    recur_matches_reference: conformance::recurrent::matches_reference, 132;
    recur_is_batch_invariant: conformance::recurrent::is_batch_invariant, 2;
    recur_in_pieces_gives_the_bits_of_the_whole: conformance::recurrent::pieces_give_the_bits_of_the_whole, 132;
    recur_forward_is_recur: train::recurrent::forward_is_recur, 2;
    recur_backward_matches_reference: train::recurrent::backward_matches_reference, 132;
    linear_forward_is_linear: train::linear::forward_is_linear, 2;
    linear_backward_matches_reference: train::linear::backward_matches_reference, 132;
    linear_packs_again: train::linear::packs_again, 2;
    muon_matches_reference: train::muon::matches_reference, 2;
    errors_are_those_of_the_reference: conformance::errors::are_those_of_the_reference, 2;
    empty_batches_are_allowed: conformance::errors::empty_batches_are_allowed, 2;
}

/// Only the artifact of the device's own capability is loaded, and kernels for Hopper only there.
#[test]
fn each_capability_loads_its_artifact() {
    let load = |format, driver: common::Played| {
        let driver = Arc::new(driver);
        let cuda = seq2seq_cuda::Cuda::with_driver(driver.clone(), CudaOptions::default());
        let matrix = HostTensor::from_f32(vec![16, 16], &[0.5; 256]).unwrap();
        let layer = cuda.pack(&LinearSpec::single(matrix.clone(), None), format).unwrap();
        let y = cuda.linear(&cuda.upload(&matrix).unwrap(), &layer, Epilogue::NONE).unwrap();
        assert_eq!(cuda.download(&y).unwrap(), [4.0; 256]);
        driver.modules()
    };
    let played = || common::Played::new(1 << 20);
    for (format, any, hopper) in [
        (Format::Bf16, "linear_bf16", "linear_bf16_wgmma"),
        (Format::Int8, "linear_int8", "linear_int8_wgmma"),
    ] {
        assert_eq!(load(format, played()), ["rows", any]);
        assert_eq!(load(format, played().blackwell()), ["rows", any]);
        assert_eq!(load(format, played().hopper(132)), ["rows", hopper]);
    }
}
