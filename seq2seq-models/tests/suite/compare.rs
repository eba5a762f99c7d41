//! Formats compared: the figures are those of a computation by hand, and f32 is what f32 is compared with.

use crate::support::{Fixture, fixture, fixtures_with};
use seq2seq_core::Format;
use seq2seq_models::{
    Device, Files, Forward, LoadOptions, Model, Prompt,
    compare::{Comparison, Report},
    generate::GenerationConfig,
};

const NEW: usize = 6;

fn prompts(fixture: &Fixture) -> Vec<Prompt> {
    let (request, _) = fixture.forward();
    let prompt = |ids: Vec<u32>| Prompt::new(ids);
    request.input_ids.into_iter().map(prompt).collect()
}

fn compare(fixture: &Fixture, device: Device, formats: &[Format], batch: usize) -> Report {
    let files = Files::folder(&fixture.folder).unwrap();
    let options = LoadOptions { device, threads: Some(1), ..LoadOptions::default() };
    let mut comparison = Comparison::load(&files, &options, formats, NEW).unwrap();
    for prompts in prompts(fixture).chunks(batch) {
        comparison.add(prompts).unwrap_or_else(|e| panic!("{}: {e}", fixture.name));
    }
    comparison.report().unwrap()
}

#[test]
fn f32_does_not_differ_from_itself() {
    for fixture in fixtures_with("forward.safetensors") {
        let report = compare(&fixture, Device::Cpu, &[Format::F32], 100);
        let [found] = &report.formats[..] else { panic!("one format") };
        assert!(found.modules.len() > 3, "{}", fixture.name);
        assert!(found.modules.iter().all(|m| m.relative_error == 0.0), "{}", fixture.name);
        match (found.next_token, found.states) {
            (Some(next), None) => {
                assert_eq!((next.kl_mean, next.kl_largest), (0.0, 0.0));
                assert_eq!((next.argmax_agrees, next.rows_identical), (1.0, 1.0));
                assert!(next.positions >= report.rows);
            }
            (None, Some(states)) => {
                assert!((states.cosine_lowest - 1.0).abs() < 1e-12, "{}", fixture.name);
                assert!(states.logits_relative_error.is_none_or(|e| e == 0.0));
            }
            other => panic!("{}: {other:?}", fixture.name),
        }
    }
}

#[test]
fn every_layer_is_named_and_int8_is_further_off_than_bf16() {
    for (name, wanted, layers) in [
        ("t5_v1_0", "decoder.block.1.layer.2.DenseReluDense.wo", None),
        ("t5_v1_1", "encoder.block.0.layer.1.DenseReluDense.wi_1", None),
        ("gpt2", "transformer.h.0.attn.c_attn", Some(4)),
        ("bert_sequence_classification", "bert.pooler.dense", Some(6)),
        ("bart_base", "model.decoder.layers.0.encoder_attn.k_proj", None),
    ] {
        let fixture = fixture(name);
        let formats = [Format::Bf16, Format::Int8];
        let report = compare(&fixture, Device::Cpu, &formats, 100);
        let [bf16, int8] = &report.formats[..] else { panic!("two formats") };
        assert_eq!((bf16.format, int8.format), ("bf16", "int8"));
        for found in [bf16, int8] {
            let errors: Vec<f64> = found.modules.iter().map(|m| m.relative_error).collect();
            assert!(errors.is_sorted_by(|a, b| a >= b));
            let names: Vec<&str> = found.modules.iter().map(|m| m.weight.as_str()).collect();
            assert!(names.contains(&wanted), "{wanted} in {names:?}");
            let model = fixture.load(&LoadOptions::default());
            let stack = model.plan().last_stack().unwrap();
            // At least this many a layer; all of one stack's where there is but one.
            assert!(names.len() >= layers.unwrap_or(9) * stack.layers, "{names:?}");
        }
        for module in &bf16.modules {
            let same = int8.modules.iter().find(|m| m.module == module.module).unwrap();
            let range = 1e-4..1e-2;
            assert!(range.contains(&module.relative_error), "{name} {module:?}");
            assert!(same.relative_error > module.relative_error && same.relative_error < 0.1);
        }
        assert!(int8.bytes < bf16.bytes);
    }
}

/// Everything by hand: generation, whole passes, softmax, in plain loops.
fn by_hand(fixture: &Fixture, format: Format) -> (Vec<f64>, usize, usize) {
    let load = |format| {
        let options = LoadOptions { format, device: Device::Reference, ..LoadOptions::default() };
        fixture.load(&options)
    };
    let (exact, other) = (load(Format::F32), load(format));
    let config = GenerationConfig {
        num_beams: Some(1),
        do_sample: Some(false),
        max_new_tokens: Some(NEW),
        ..GenerationConfig::default()
    };
    let write = |model: &Model, prompt: &Prompt| {
        let rows = model.generate(std::slice::from_ref(prompt), &config, &mut ()).unwrap();
        rows[0][0].ids.clone()
    };
    let (mut divergences, mut agreeing, mut identical) = (Vec::new(), 0, 0);
    for prompt in prompts(fixture) {
        let written = write(&exact, &prompt);
        identical += usize::from(written == write(&other, &prompt));
        let encoder = exact.plan().is_encoder_decoder();
        let (request, first) = match encoder {
            true => {
                let decoder_input_ids = Some(vec![written[..written.len() - 1].to_vec()]);
                let input_ids = vec![prompt.input_ids.clone()];
                (Forward { input_ids, decoder_input_ids, token_type_ids: None }, 0)
            }
            false => {
                let all = [&prompt.input_ids[..], &written[..written.len() - 1]].concat();
                let first = prompt.input_ids.len() - 1;
                (Forward { input_ids: vec![all], ..Forward::default() }, first)
            }
        };
        let logits = |model: &Model| {
            let outputs = model.forward(&request).unwrap();
            let rows = outputs[0].values.chunks(outputs[0].width);
            rows.skip(first).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let softmax = |logits: &[f32]| -> Vec<f64> {
            let e: Vec<f64> = logits.iter().map(|&v| f64::from(v).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.iter().map(|v| v / sum).collect()
        };
        let best = |p: &[f64]| (0..p.len()).fold(0, |b, i| if p[i] > p[b] { i } else { b });
        for (e, g) in logits(&exact).iter().zip(&logits(&other)) {
            let (p, q) = (softmax(e), softmax(g));
            divergences.push(p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum());
            agreeing += usize::from(best(&p) == best(&q));
        }
    }
    (divergences, agreeing, identical)
}

#[test]
fn end_to_end_figures_are_those_of_a_computation_by_hand() {
    for name in ["t5_v1_0", "gpt2", "bart_base"] {
        let fixture = fixture(name);
        let rows = prompts(&fixture).len();
        let report = compare(&fixture, Device::Reference, &[Format::Int8], 2);
        assert_eq!((report.rows, report.max_new_tokens), (rows, Some(NEW)));
        let found = report.formats[0].next_token.unwrap();
        let (divergences, agreeing, identical) = by_hand(&fixture, Format::Int8);
        assert_eq!(found.positions, divergences.len(), "{name}");
        let count = divergences.len() as f64;
        let mean = divergences.iter().sum::<f64>() / count;
        let largest = divergences.iter().copied().fold(0.0, f64::max);
        assert!(mean > 0.0);
        assert!((found.kl_mean - mean).abs() < 1e-9, "{name} {found:?} {mean}");
        assert!((found.kl_largest - largest).abs() < 1e-9, "{name} {found:?} {largest}");
        assert_eq!(found.argmax_agrees, agreeing as f64 / count, "{name}");
        assert_eq!(found.rows_identical, identical as f64 / rows as f64, "{name}");
    }
}

#[test]
fn encoders_are_compared_by_states_and_scores() {
    let fixture = fixture("bert_sequence_classification");
    let report = compare(&fixture, Device::Reference, &[Format::Int8], 1);
    let found = report.formats[0].states.unwrap();
    let outputs = |format| {
        let options = LoadOptions { format, device: Device::Reference, ..LoadOptions::default() };
        let input_ids = prompts(&fixture).into_iter().map(|p| p.input_ids).collect();
        let request = Forward { input_ids, ..Forward::default() };
        let model = fixture.load(&options);
        let with = model.forward_with_hidden(&request).unwrap();
        assert_eq!(with[0].values, model.forward(&request).unwrap()[0].values);
        assert_eq!((with.len(), with[0].name, with[1].name), (2, "logits", "last_hidden_state"));
        with
    };
    let (exact, int8) = (outputs(Format::F32), outputs(Format::Int8));
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = || exact[0].values.iter().zip(&int8[0].values);
    let off = norm(&mut pairs().map(|(&e, &g)| f64::from(g) - f64::from(e)));
    let all = norm(&mut pairs().map(|(&e, _)| f64::from(e)));
    assert!((found.logits_relative_error.unwrap() - off / all).abs() < 1e-12);
    let pooled = |at: usize, outputs: &[seq2seq_models::ForwardOutput]| -> Vec<f64> {
        let (hidden, width) = (&outputs[1], outputs[1].width);
        let before: usize = hidden.rows[..at].iter().sum();
        let rows = &hidden.values[before * width..(before + hidden.rows[at]) * width];
        (0..width)
            .map(|c| rows.iter().skip(c).step_by(width).map(|&v| f64::from(v)).sum())
            .collect()
    };
    let cosines: Vec<f64> = (0..report.rows)
        .map(|i| {
            let (a, b) = (pooled(i, &exact), pooled(i, &int8));
            let dot: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            dot / (norm(&mut a.into_iter()) * norm(&mut b.into_iter()))
        })
        .collect();
    let lowest = cosines.iter().copied().fold(1.0, f64::min);
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    assert!(lowest < 1.0 - 1e-7);
    assert!((found.cosine_lowest - lowest).abs() < 1e-12, "{found:?} {lowest}");
    assert!((found.cosine_mean - mean).abs() < 1e-12, "{found:?} {mean}");
}

#[test]
fn without_inputs_there_is_no_report() {
    let files = Files::folder(fixture("bert").folder).unwrap();
    let options = LoadOptions { device: Device::Reference, ..LoadOptions::default() };
    let comparison = Comparison::load(&files, &options, &[Format::Int8], NEW).unwrap();
    assert!(comparison.report().unwrap_err().to_string().contains("no inputs"));
}
