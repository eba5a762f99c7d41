//! Whole models on an NVIDIA GPU that is played on the CPU, for a minute: `cargo test -p seq2seq-models --features cuda --test suite
//! played`. `.ci/run` compiles no models for a GPU, and leaves it out.

#[path = "../../../seq2seq-cuda/tests/common/played.rs"]
#[expect(dead_code, reason = "what the tests of kernels do with it")]
mod driver;
#[path = "../../../seq2seq-cuda/tests/common/hardware.rs"]
mod hardware;

use crate::support::{
    fixtures_with,
    weights::{Written, narrowed, results},
};
use driver::Played;
use safetensors::Dtype;
use seq2seq_core::Format;
use seq2seq_cuda::{Cuda, CudaOptions};
use seq2seq_models::{Files, LoadOptions, Model, convert};
use std::{path::Path, sync::Arc};

/// A model on a GPU of Hopper, whose kernels overlap.
fn load(folder: &Path, format: Format) -> Model {
    let cuda = Cuda::with_driver(Arc::new(Played::new(1 << 28).hopper(4)), CudaOptions::default());
    let options = LoadOptions { format, ..LoadOptions::default() };
    Model::load_on(Files::folder(folder).unwrap(), cuda, &options).unwrap()
}

/// What a model gives: its outputs, the ids that it wrote, and their scores.
fn parts((outputs, written): &(Vec<Vec<u32>>, Written)) -> (Vec<f32>, Vec<&[u32]>, Vec<f32>) {
    let outputs = outputs.iter().flatten().map(|&bits| f32::from_bits(bits)).collect();
    let written = written.iter().flatten();
    let (ids, scores) = written.map(|(ids, score)| (&ids[..], f32::from_bits(*score))).unzip();
    (outputs, ids, scores)
}

/// Within 1e-4 of the largest magnitude.
fn near(found: &[f32], expected: &[f32]) -> bool {
    let bound = 1e-4 * expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let is_near = |(a, b): (&f32, &f32)| (a - b).abs() <= bound;
    found.len() == expected.len() && found.iter().zip(expected).all(is_near)
}

/// In format f16 the bits of format f32, which are near those of the processor; and the same bits from a folder that was converted.
#[test]
fn a_checkpoint_of_f16_gives_the_bits_of_f32() {
    let mut families = std::collections::BTreeSet::new();
    for fixture in fixtures_with("forward.safetensors") {
        let narrow = narrowed(&fixture, Dtype::F16);
        let [f32, f16] = [Format::F32, Format::F16].map(|format| load(narrow.path(), format));
        let found = results(&fixture, &f16);
        assert!(found == results(&fixture, &f32), "{}", fixture.name);
        let options = LoadOptions { format: Format::F16, ..LoadOptions::default() };
        let processor = Model::load(narrow.path(), &options).unwrap();
        let expected = results(&fixture, &processor);
        let (own, others) = (parts(&found), parts(&expected));
        assert!(near(&own.0, &others.0) && near(&own.2, &others.2), "{}", fixture.name);
        assert_eq!(own.1, others.1, "{}", fixture.name);
        let output = narrow.path().join("converted");
        convert(&Files::folder(narrow.path()).unwrap(), &options, &output).unwrap();
        assert!(results(&fixture, &load(&output, Format::F16)) == found, "{}", fixture.name);
        families.insert(f16.family().name());
    }
    assert_eq!(families.len(), seq2seq_models::Family::ALL.len(), "{families:?}");
}
