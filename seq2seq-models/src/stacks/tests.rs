//! What must hold to the bit: caches against whole passes, sequences alone against batches.

use super::Transformer;
use crate::{
    Forward,
    checkpoint::{Checkpoint, Files, Formats, Loader},
    families,
    generate::DecodeSession,
    plan::ModelPlan,
};
use seq2seq_core::{Format, Ragged, SeqBackend, reference::Reference};
use std::path::Path;

/// One of each kind of decoder: buckets, learned positions, sinusoids, rotation.
const WRITERS: [&str; 6] = ["t5_v1_0", "bart_base", "mbart", "marian_shared", "gpt2", "llama"];

/// A model and its plan; `None` where there is no such fixture.
fn load<B: SeqBackend>(
    backend: &B,
    fixture: &str,
    format: Format,
) -> Option<(Transformer<B>, ModelPlan)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(fixture);
    let checkpoint = Checkpoint::open(Files::folder(folder).ok()?, None).unwrap();
    let plan = families::plan(&checkpoint).unwrap();
    let formats = Formats { format, exceptions: Vec::new() };
    let loader = Loader::new(backend, &checkpoint, plan.family.names(), &formats);
    Some((Transformer::load(&plan, &loader).unwrap(), plan))
}

fn sources() -> Vec<Vec<u32>> {
    vec![vec![5, 9, 17, 2], vec![7], vec![30, 11, 12, 13, 14, 8, 21]]
}

/// The logits after every token of `targets`, each with its source, in whole passes: `[sequence][position][V]`.
fn whole<B: SeqBackend>(
    (model, plan): &(Transformer<B>, ModelPlan),
    sources: &[Vec<u32>],
    targets: &[Vec<u32>],
) -> Vec<Vec<Vec<f32>>> {
    let (input_ids, decoder_input_ids) = match plan.is_encoder_decoder() {
        true => (sources.to_vec(), Some(targets.to_vec())),
        false => (targets.to_vec(), None),
    };
    let request = Forward { input_ids, decoder_input_ids, token_type_ids: None };
    let outputs = model.forward(&request).unwrap();
    let logits = outputs.iter().find(|o| o.name == "logits").unwrap();
    let mut rows = logits.values.chunks(logits.width).map(<[f32]>::to_vec);
    logits.rows.iter().map(|n| rows.by_ref().take(*n).collect()).collect()
}

/// Decodes with a cache, in passes of unequal lengths, and compares every row with the whole pass.
fn cached_equals_whole<B: SeqBackend>(backend: &B) {
    let targets = [vec![4, 40, 3, 22, 6], vec![10, 11, 12, 13, 14], vec![33, 5, 5, 9, 50]];
    // (sequence, new tokens); the second sequence is done before the last pass.
    let passes: [&[(usize, usize)]; 4] = [
        &[(0, 1), (1, 3), (2, 2)],
        &[(0, 1), (1, 1), (2, 1)],
        &[(0, 2), (1, 1), (2, 1)],
        &[(0, 1), (2, 1)],
    ];
    for (fixture, format) in cases() {
        let Some(model) = load(backend, fixture, format) else { continue };
        let expected = whole(&model, &sources(), &targets);
        let mut session = model.0.session(&sources(), 1, 5).unwrap();
        let mut done = [0; 3];
        for pass in passes {
            if pass.len() == 2 {
                session.reorder(&[0, 2]).unwrap();
            }
            let new = pass.iter().flat_map(|&(i, n)| &targets[i][done[i]..done[i] + n]);
            let ids: Vec<u32> = new.copied().collect();
            let logits = session.step(&ids, &Ragged::from_lengths(pass.iter().map(|p| p.1)));
            let logits = backend.download(&logits.unwrap()).unwrap();
            for (&(i, n), got) in pass.iter().zip(logits.chunks(session.vocab())) {
                done[i] += n;
                assert_eq!(got, expected[i][done[i] - 1], "{fixture} {format} {i} at {}", done[i]);
            }
        }
        assert_eq!(done, [5; 3]);
    }
}

/// Hypotheses that part ways and are dropped give what each would have given alone.
fn beams_equal_whole<B: SeqBackend>(backend: &B) {
    for (fixture, format) in cases() {
        let Some(model) = load(backend, fixture, format) else { continue };
        let mut session = model.0.session(&sources(), 2, 4).unwrap();
        session.step(&[4, 5, 6], &Ragged::single_rows(3)).unwrap();
        session.reorder(&[0, 0, 2, 2]).unwrap();
        session.step(&[10, 11, 12, 13], &Ragged::single_rows(4)).unwrap();
        session.reorder(&[1, 0, 3]).unwrap();
        session.step(&[20, 21, 22], &Ragged::single_rows(3)).unwrap();
        session.reorder(&[0, 2, 2]).unwrap();
        let last = session.step(&[30, 31, 32], &Ragged::single_rows(3)).unwrap();
        let last = backend.download(&last).unwrap();
        let sources = [0, 2, 2].map(|i| sources()[i].clone());
        let targets = [vec![4, 11, 20, 30], vec![6, 13, 22, 31], vec![6, 13, 22, 32]];
        let expected = whole(&model, &sources, &targets);
        for (i, got) in last.chunks(session.vocab()).enumerate() {
            assert_eq!(got, expected[i][3], "{fixture} {format} {i}");
        }
    }
}

/// The attention of each hypothesis' last row, one distribution over its source for every head of every layer.
fn weights_are_distributions<B: SeqBackend>(backend: &B) {
    let Some((model, plan)) = load(backend, "bart_base", Format::F32) else { return };
    let mut session = model.session(&sources(), 2, 4).unwrap();
    assert!(session.take_weights().is_empty());
    session.record_weights().unwrap();
    session.step(&[4, 5, 6, 7], &Ragged::from_lengths([1, 2, 1])).unwrap();
    session.reorder(&[0, 2, 2]).unwrap();
    session.step(&[8, 9, 10], &Ragged::single_rows(3)).unwrap();
    let layers = session.take_weights();
    let decoder = plan.decoder.unwrap();
    assert_eq!(layers.len(), decoder.layers);
    for (hypothesis, source) in [4, 7, 7].into_iter().enumerate() {
        for layer in &layers {
            let heads: Vec<_> = layer[hypothesis].chunks(source).collect();
            assert_eq!(heads.len(), decoder.attention.heads);
            assert!(heads.iter().all(|h| (h.iter().sum::<f32>() - 1.0).abs() < 1e-5));
        }
    }
}

fn cases() -> impl Iterator<Item = (&'static str, Format)> {
    WRITERS.into_iter().flat_map(|f| Format::ALL.map(|format| (f, format)))
}

#[test]
fn on_the_reference() {
    cached_equals_whole(&Reference);
    beams_equal_whole(&Reference);
    weights_are_distributions(&Reference);
}

#[test]
#[cfg(feature = "cpu")]
fn on_every_cpu() {
    for cpu in crate::device::every_cpu() {
        cached_equals_whole(&cpu);
        beams_equal_whole(&cpu);
        weights_are_distributions(&cpu);
    }
}
