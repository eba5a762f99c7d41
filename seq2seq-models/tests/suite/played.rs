//! Whole models on an NVIDIA GPU that is played on the CPU, for a minute: `cargo test -p seq2seq-models --features cuda --test suite
//! played`. `.ci/run` leaves out the one of f16, which takes most of it.

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
use seq2seq_models::{
    Files, LoadOptions, Model, Prompt, convert,
    generate::{GenerationConfig, Lost, Sink, TokenIds},
};
use std::{ops::ControlFlow, path::Path, sync::Arc};

/// A model on a GPU of Hopper, whose kernels overlap.
fn load(folder: &Path, format: Format) -> Model {
    let cuda = Cuda::with_driver(Arc::new(Played::new(1 << 28).hopper(4)), CudaOptions::default());
    let options = LoadOptions { format, ..LoadOptions::default() };
    Model::load_on(Files::folder(folder).unwrap(), cuda, &options).unwrap()
}

/// The same on a device that does nothing before it is waited for, which is given, too.
fn load_late(folder: &Path, ahead: bool) -> (Model, Arc<Played>) {
    let driver = Arc::new(Played::new(1 << 28).hopper(4).late());
    let cuda = Cuda::with_driver(driver.clone(), CudaOptions::default().ahead(ahead));
    let options = LoadOptions { format: Format::F32, ..LoadOptions::default() };
    (Model::load_on(Files::folder(folder).unwrap(), cuda, &options).unwrap(), driver)
}

/// Hears of ids, and whether the device had been asked for more by then.
struct Hearing {
    driver: Arc<Played>,
    ids: Vec<(usize, usize, u32)>,
    busy: Vec<bool>,
}

impl Sink for Hearing {
    fn ids(&mut self, row: usize, sequence: usize, ids: &[u32]) -> ControlFlow<()> {
        self.ids.extend(ids.iter().map(|&id| (row, sequence, id)));
        self.busy.push(self.driver.pending() > 0);
        ControlFlow::Continue(())
    }
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

/// What is computed in bf16 is as far from f32 as what the processor computes in bf16: both round the same operands, and add in other
/// orders. Sequences mostly have the same ids; how many is printed.
#[test]
fn bf16_is_as_near_to_f32_as_the_processor_is() {
    let (mut same, mut all) = (0, 0);
    for fixture in fixtures_with("forward.safetensors") {
        let found = results(&fixture, &load(&fixture.folder, Format::Bf16));
        let [narrow, exact] = [Format::Bf16, Format::F32].map(|format| {
            let options = LoadOptions { format, ..LoadOptions::default() };
            results(&fixture, &fixture.load(&options))
        });
        let [found, narrow, exact] = [&found, &narrow, &exact].map(parts);
        let error = |of: &[f32]| {
            let squares = of.iter().zip(&exact.0).map(|(a, b)| f64::from(a - b).powi(2));
            (squares.sum::<f64>() / of.len() as f64).sqrt()
        };
        let (own, others) = (error(&found.0), error(&narrow.0));
        let equal = found.1.iter().zip(&narrow.1).filter(|(a, b)| a == b).count();
        println!("{}: {:.3}, {equal} of {}", fixture.name, own / others, found.1.len());
        assert!(own <= 2.0 * others, "{}: {own} and {others}", fixture.name);
        (same, all) = (same + equal, all + found.1.len());
    }
    println!("{same} of {all} sequences are the same");
    assert!(same * 100 >= all * 95, "{same} of {all}");
}

/// On a device that is as late as can be: what is written, and when it is told, is what a search has that waits for the ids of each
/// step, and what the processor writes. The device has been asked for the next step before the host hears of ids, but for the last.
#[test]
fn a_search_that_goes_ahead_writes_what_one_that_waits_does() {
    const NEW: usize = 6;
    for name in ["t5_v1_0", "bart_base", "m2m_100", "llama", "rnn_lstm_bahdanau"] {
        let fixture = crate::support::fixture(name);
        let prompts: Vec<_> = fixture.forward().0.input_ids.into_iter().map(Prompt::new).collect();
        let processor = fixture.load(&LoadOptions::default());
        let devices = [true, false].map(|ahead| load_late(&fixture.folder, ahead));
        let no_end = Some(TokenIds(Vec::new()));
        let greedy = GenerationConfig {
            num_beams: Some(1),
            max_new_tokens: Some(NEW),
            eos_token_id: no_end,
            repetition_penalty: Some(1.2),
            ..GenerationConfig::default()
        };
        let drawn = GenerationConfig {
            do_sample: Some(true),
            seed: Some(7),
            num_return_sequences: Some(2),
            ..greedy.clone()
        };
        for config in [greedy, drawn] {
            let expected = processor.generate(&prompts, &config, &mut ()).unwrap();
            // A new id of the first row ends texts, wherever it comes.
            let end = expected[0][0].ids[expected[0][0].ids.len() - 4];
            let ended = GenerationConfig { eos_token_id: Some(end.into()), ..config.clone() };
            for (config, ends) in [(config, false), (ended, true)] {
                let expected = processor.generate(&prompts, &config, &mut ()).unwrap();
                let [going, waiting] = [0, 1].map(|i| {
                    let (model, driver) = &devices[i];
                    let (ids, busy) = (Vec::new(), Vec::new());
                    let mut hearing = Hearing { driver: driver.clone(), ids, busy };
                    let rows = model.generate(&prompts, &config, &mut hearing).unwrap();
                    (rows, hearing)
                });
                assert_eq!(going.0, waiting.0, "{name}");
                assert_eq!(going.1.ids, waiting.1.ids, "{name}");
                for (row, expected) in going.0.iter().flatten().zip(expected.iter().flatten()) {
                    assert_eq!(row.ids, expected.ids, "{name}");
                    assert!(near(&[row.score], &[expected.score]), "{name}");
                }
                assert!(!waiting.1.busy.contains(&true), "{name}");
                if ends {
                    assert!(going.1.busy.contains(&true), "{name}");
                    continue;
                }
                let sequences = going.0.concat().len();
                let steps: Vec<bool> = going.1.busy.chunks(sequences).map(|b| b[0]).collect();
                let mut ahead = vec![true; NEW];
                ahead[NEW - 1] = false;
                // The first step of several sequences of a row spreads them.
                ahead[0] = config.num_return_sequences.is_none();
                assert_eq!(steps, ahead, "{name}");
            }
        }
    }
}

/// Counts the steps that the device had been asked for before a beam search was at them, and what was lost.
struct Steps {
    driver: Arc<Played>,
    ahead: Vec<bool>,
    lost: Vec<(usize, String)>,
}

impl Sink for Steps {
    fn step(&mut self) -> ControlFlow<()> {
        self.ahead.push(self.driver.pending() > 0);
        ControlFlow::Continue(())
    }

    fn hears_lost(&self) -> bool {
        true
    }

    fn lost(&mut self, row: usize, lost: &Lost<'_>) {
        self.lost.push((row, format!("{lost:?}")));
    }
}

/// The same of beams: scores to the bit, and what was lost in its order. Rows are done in different steps.
#[test]
fn beams_that_go_ahead_write_what_those_that_wait_do() {
    const NEW: usize = 6;
    for (name, beams) in [("t5_v1_0", 4), ("m2m_100", 2), ("llama", 3), ("rnn_lstm_bahdanau", 3)] {
        let fixture = crate::support::fixture(name);
        let prompts: Vec<_> = fixture.forward().0.input_ids.into_iter().map(Prompt::new).collect();
        let processor = fixture.load(&LoadOptions::default());
        let devices = [true, false].map(|ahead| load_late(&fixture.folder, ahead));
        let config = GenerationConfig {
            num_beams: Some(beams),
            num_return_sequences: Some(2),
            max_new_tokens: Some(NEW),
            eos_token_id: Some(TokenIds(Vec::new())),
            repetition_penalty: Some(1.2),
            no_repeat_ngram_size: Some(2),
            ..GenerationConfig::default()
        };
        let expected = processor.generate(&prompts, &config, &mut ()).unwrap();
        // A new id of the first row ends texts, wherever it comes.
        let end = expected[0][0].ids[expected[0][0].ids.len() - 4];
        let ended = GenerationConfig { eos_token_id: Some(end.into()), ..config.clone() };
        for (config, ends) in [(config, false), (ended, true)] {
            let expected = processor.generate(&prompts, &config, &mut ()).unwrap();
            let [going, waiting] = [0, 1].map(|i| {
                let (model, driver) = &devices[i];
                let driver = driver.clone();
                let mut steps = Steps { driver, ahead: Vec::new(), lost: Vec::new() };
                let rows = model.generate(&prompts, &config, &mut steps).unwrap();
                (rows, steps)
            });
            assert_eq!(going.0, waiting.0, "{name}");
            assert_eq!(going.1.lost, waiting.1.lost, "{name}");
            for (row, expected) in going.0.iter().flatten().zip(expected.iter().flatten()) {
                assert_eq!(row.ids, expected.ids, "{name}");
                assert!(near(&[row.score], &[expected.score]), "{name}");
            }
            assert!(!waiting.1.ahead.contains(&true), "{name}");
            if !ends {
                // The first step spreads the rows.
                assert_eq!(going.1.ahead, [false, true, true, true, true], "{name}");
            }
        }
    }
}

/// Rules that leave nothing end both with the error that the processor has.
#[test]
fn a_search_that_goes_ahead_fails_as_one_that_waits() {
    let fixture = crate::support::fixture("t5_v1_0");
    let processor = fixture.load(&LoadOptions::default());
    let vocab = processor.context().unwrap().vocab as u32;
    for (do_sample, beams) in [(false, 1), (true, 1), (false, 2)] {
        let config = GenerationConfig {
            num_beams: Some(beams),
            do_sample: Some(do_sample),
            // One id is left, and may come once behind the start, which is the same.
            suppress_tokens: Some((1..vocab).collect()),
            bad_words_ids: Some(vec![vec![0, 0, 0]]),
            max_new_tokens: Some(5),
            ..GenerationConfig::default()
        };
        let error = |model: &Model| {
            model.generate(&[Prompt::new([5, 6, 7])], &config, &mut ()).unwrap_err().to_string()
        };
        let expected = error(&processor);
        for ahead in [true, false] {
            let (model, _) = load_late(&fixture.folder, ahead);
            assert_eq!(error(&model), expected);
        }
    }
}
