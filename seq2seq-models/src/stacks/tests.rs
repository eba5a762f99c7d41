//! What must hold to the bit: caches against whole passes, sequences alone against batches.

use super::Stacks;
use crate::{
    Forward,
    checkpoint::{Checkpoint, Files, Formats, Loader},
    families,
    generate::DecodeSession,
    plan::ModelPlan,
};
use seq2seq_core::{Format, Ragged, SeqBackend, reference::Reference};
use std::path::Path;

/// One of each kind of decoder: buckets, learned positions, sinusoids of both kinds, rotation, with each head normalised, too; recurrent ones that read whole sequences
/// at once or step by step, fed with the context, their last output, the encoder's last state or nothing.
const WRITERS: [&str; 13] = [
    "t5_v1_0",
    "bart_base",
    "mbart",
    "marian_shared",
    "m2m_100",
    "gpt2",
    "llama",
    "qwen3",
    "rnn_lstm_bahdanau",
    "rnn_lstm_luong_dot",
    "rnn_gru_luong_general",
    "rnn_lstm_fixed",
    "rnn_gru_fixed",
];

/// A model and its plan; `None` where there is no such fixture.
fn load<B: SeqBackend>(
    backend: &B,
    fixture: &str,
    format: Format,
) -> Option<(Stacks<B>, ModelPlan)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(fixture);
    let checkpoint = Checkpoint::open(Files::folder(folder).ok()?, None).unwrap();
    let plan = families::plan(&checkpoint).unwrap();
    let formats = Formats { format, exceptions: Vec::new() };
    let loader = Loader::new(backend, &checkpoint, plan.family.names(), &formats);
    Some((super::load(&plan, &loader).unwrap(), plan))
}

fn session<'a, B: SeqBackend>(
    model: &'a Stacks<B>,
    beams: usize,
    capacity: usize,
) -> Box<dyn DecodeSession<B> + 'a> {
    match model {
        Stacks::Transformer(model) => Box::new(model.session(&sources(), beams, capacity).unwrap()),
        Stacks::Recurrent(model) => Box::new(model.session(&sources()).unwrap()),
    }
}

fn sources() -> Vec<Vec<u32>> {
    vec![vec![5, 9, 17, 2], vec![7], vec![30, 11, 12, 13, 14, 8, 21]]
}

/// The logits after every token of `targets`, each with its source, in whole passes: `[sequence][position][V]`.
fn whole<B: SeqBackend>(
    (model, plan): &(Stacks<B>, ModelPlan),
    sources: &[Vec<u32>],
    targets: &[Vec<u32>],
) -> Vec<Vec<Vec<f32>>> {
    let (input_ids, decoder_input_ids) = match plan.is_encoder_decoder() {
        true => (sources.to_vec(), Some(targets.to_vec())),
        false => (targets.to_vec(), None),
    };
    let request = Forward { input_ids, decoder_input_ids, token_type_ids: None };
    let outputs = match model {
        Stacks::Transformer(model) => model.forward(&request).unwrap(),
        Stacks::Recurrent(model) => model.forward(&request).unwrap(),
    };
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
        let mut session = session(&model.0, 1, 5);
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
        let mut session = session(&model.0, 2, 4);
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
    for fixture in ["bart_base", "rnn_lstm_bahdanau", "rnn_lstm_luong_dot", "rnn_gru_luong_general"]
    {
        let Some((model, plan)) = load(backend, fixture, Format::F32) else { continue };
        let mut session = session(&model, 2, 4);
        assert!(session.take_weights().is_empty());
        session.record_weights().unwrap();
        session.step(&[4, 5, 6, 7], &Ragged::from_lengths([1, 2, 1])).unwrap();
        session.reorder(&[0, 2, 2]).unwrap();
        session.step(&[8, 9, 10], &Ragged::single_rows(3)).unwrap();
        let layers = session.take_weights();
        let (depth, count) = plan.decoder.map_or((1, 1), |d| (d.layers, d.attention.heads));
        assert_eq!(layers.len(), depth, "{fixture}");
        for (hypothesis, source) in [4, 7, 7].into_iter().enumerate() {
            for layer in &layers {
                let heads: Vec<_> = layer[hypothesis].chunks(source).collect();
                assert_eq!(heads.len(), count, "{fixture}");
                assert!(heads.iter().all(|h| (h.iter().sum::<f32>() - 1.0).abs() < 1e-5));
            }
        }
    }
}

/// A prompt of several ids for each leaves the weights that the same ids one by one leave.
fn weights_of_prompts<B: SeqBackend>(backend: &B) {
    for fixture in ["rnn_lstm_bahdanau", "rnn_lstm_luong_dot", "rnn_gru_luong_general"] {
        let Some((model, _)) = load(backend, fixture, Format::F32) else { continue };
        let mut at_once = session(&model, 1, 3);
        at_once.record_weights().unwrap();
        at_once.step(&[4, 5, 6, 7, 8, 9], &Ragged::from_lengths([1, 2, 3])).unwrap();
        let mut one_by_one = session(&model, 1, 3);
        one_by_one.record_weights().unwrap();
        one_by_one.step(&[4, 5, 7], &Ragged::single_rows(3)).unwrap();
        let mut expected = one_by_one.take_weights();
        for (ids, kept) in [(vec![6, 8], vec![1, 2]), (vec![9], vec![1])] {
            one_by_one.reorder(&kept).unwrap();
            one_by_one.step(&ids, &Ragged::single_rows(ids.len())).unwrap();
            let weights = one_by_one.take_weights().swap_remove(0);
            let first = 3 - ids.len();
            expected[0].splice(first.., weights);
        }
        assert_eq!(at_once.take_weights(), expected, "{fixture}");
    }
}

/// Without attention there are no weights to be looked at.
#[test]
fn a_fixed_context_has_no_weights() {
    let Some((model, _)) = load(&Reference, "rnn_gru_fixed", Format::F32) else { return };
    let error = session(&model, 1, 1).record_weights().unwrap_err().to_string();
    assert!(error.contains("no attention"), "{error}");
}

fn cases() -> impl Iterator<Item = (&'static str, Format)> {
    WRITERS.into_iter().flat_map(|f| Format::ALL.map(|format| (f, format)))
}

#[test]
fn on_the_reference() {
    cached_equals_whole(&Reference);
    beams_equal_whole(&Reference);
    weights_are_distributions(&Reference);
    weights_of_prompts(&Reference);
}

#[test]
#[cfg(feature = "cpu")]
fn on_every_cpu() {
    for cpu in crate::device::every_cpu() {
        cached_equals_whole(&cpu);
        beams_equal_whole(&cpu);
        weights_are_distributions(&cpu);
        weights_of_prompts(&cpu);
    }
}
