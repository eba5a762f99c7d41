//! A checkpoint of f16 gives in f16 the bits that it gives in f32.

use crate::support::{
    backends, fixtures_with, label,
    weights::{narrowed, results},
    with_format,
};
use safetensors::Dtype;
use seq2seq_core::Format;
use seq2seq_models::Model;

#[test]
fn a_checkpoint_of_f16_gives_the_bits_of_f32() {
    let mut families = std::collections::BTreeSet::new();
    for fixture in fixtures_with("forward.safetensors") {
        let narrow = narrowed(&fixture, Dtype::F16);
        for options in backends() {
            let load = |format| Model::load(narrow.path(), &with_format(&options, format)).unwrap();
            let what = format!("{} {}", fixture.name, label(&options));
            let (f32, f16) = (load(Format::F32), load(Format::F16));
            let exact = results(&fixture, &f32);
            assert!(results(&fixture, &f16) == exact, "{what}");
            assert!(f16.bytes() < f32.bytes(), "{what}");
            // What else is as long rounds more.
            assert!(results(&fixture, &load(Format::Bf16)) != exact, "{what}");
            families.insert(f16.family().name());
        }
    }
    assert_eq!(families.len(), seq2seq_models::Family::ALL.len(), "{families:?}");
}
