//! Looking into a model changes nothing, and shows what it computes.

use crate::support::{Fixture, fixture, fixtures_with};
use seq2seq_models::{
    Device, Files, Forward, LoadOptions, Prompt, generate::GenerationConfig, trace::Traced,
};

fn options() -> LoadOptions {
    LoadOptions { device: Device::Reference, ..LoadOptions::default() }
}

fn traced(fixture: &Fixture) -> Traced {
    Traced::load(Files::folder(&fixture.folder).unwrap(), &options()).unwrap()
}

fn names(traced: &Traced, request: &Forward) -> Vec<String> {
    let (done, stages) = traced.watch(|| traced.model().forward(request));
    done.unwrap();
    stages.into_iter().map(|s| s.name).collect()
}

#[test]
fn every_stage_is_seen_in_order() {
    for (name, expected) in [
        ("bert_masked_lm", "encoder.embed encoder.layers.0 encoder.layers.1 head"),
        ("gpt2", "decoder.embed decoder.layers.0 decoder.layers.1 decoder.norm head"),
        (
            "t5_v1_0",
            "encoder.embed encoder.layers.0 encoder.layers.1 encoder.norm decoder.memory \
             decoder.embed decoder.layers.0 decoder.layers.1 decoder.norm head",
        ),
        (
            "rnn_gru_bahdanau",
            "encoder.embed encoder.layers.0 decoder.memory decoder.embed \
             decoder.layers.0 decoder.attention head",
        ),
    ] {
        let fixture = fixture(name);
        assert_eq!(names(&traced(&fixture), &fixture.forward().0).join(" "), expected, "{name}");
    }
}

/// The figures of the last stages are those of the outputs, and the outputs are those of a model that nobody looks into.
#[test]
fn figures_are_those_of_the_outputs() {
    for fixture in fixtures_with("forward.safetensors") {
        let request = fixture.forward().0;
        let traced = traced(&fixture);
        let (watched, stages) = traced.watch(|| traced.model().forward(&request).unwrap());
        let plain = fixture.load(&options());
        for (watched, plain) in watched.iter().zip(plain.forward(&request).unwrap()) {
            assert_eq!(watched.values, plain.values, "{} {}", fixture.name, plain.name);
        }
        let Some(logits) = watched.iter().find(|o| o.name == "logits") else { continue };
        let head = stages.iter().find(|s| s.name == "head").unwrap();
        let values = head.values.unwrap();
        let count = logits.values.len();
        assert_eq!(head.rows * head.width, count, "{}", fixture.name);
        let sum: f64 = logits.values.iter().map(|&v| f64::from(v)).sum();
        let squares: f64 = logits.values.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        assert!((values.mean - sum / count as f64).abs() < 1e-9, "{}", fixture.name);
        assert!((values.norm - (squares / head.rows as f64).sqrt()).abs() < 1e-9);
        assert_eq!(values.min, logits.values.iter().copied().fold(f32::INFINITY, f32::min));
        assert_eq!(values.max, logits.values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        assert!(stages.iter().all(|s| s.seconds > 0.0), "{stages:?}");
    }
}

#[test]
fn steps_of_a_decoding_add_up() {
    let fixture = fixture("t5_v1_0");
    let traced = traced(&fixture);
    let prompt = Prompt::new(vec![5, 9, 14, 1]);
    let config = GenerationConfig {
        num_beams: Some(3),
        min_new_tokens: Some(6),
        max_new_tokens: Some(6),
        ..GenerationConfig::default()
    };
    let prompts = [prompt];
    let write = || traced.model().generate(&prompts, &config, &mut ()).unwrap();
    let (watched, stages) = traced.watch(write);
    assert_eq!(watched, fixture.load(&options()).generate(&prompts, &config, &mut ()).unwrap());
    let stage = |name: &str| stages.iter().find(|s| s.name == name).unwrap();
    // One hypothesis in the first step, three in the others.
    assert_eq!((stage("head").calls, stage("head").rows), (6, 16));
    assert_eq!((stage("choice").calls, stage("choice").values), (6, None));
    assert_eq!((stage("encoder.layers.0").calls, stage("encoder.layers.0").rows), (1, 4));
    // Nothing is noted when nobody looks.
    traced.model().generate(&prompts, &config, &mut ()).unwrap();
    assert!(traced.watch(|| ()).1.is_empty());
}

#[test]
fn only_decoders_alone_have_self_attention_to_show() {
    let error = traced(&fixture("t5_v1_0")).self_attention(&[3, 1], 0).unwrap_err().to_string();
    assert!(error.contains("decoder-only"), "{error}");
    let gpt2 = traced(&fixture("gpt2"));
    assert!(gpt2.self_attention(&[3, 1], 2).unwrap_err().to_string().contains("position 2"));
    assert!(gpt2.self_attention(&[3, 99], 0).is_err());
    assert_eq!(gpt2.self_attention(&[3, 1], 1).unwrap()[0].len(), 3 * 2);
}
