//! Low-rank adapters beside peft: files, loss, and the gradients of their factors.

use crate::support::{
    Fixture, backends, fixture, label,
    passes::{floats, targets},
    root,
};
use safetensors::SafeTensors;
use seq2seq_core::{
    autodiff::Optimiser,
    train::{AdamW, Smoothing},
};
use seq2seq_models::{
    Learner, LoadOptions,
    train::{Batch, LoraOptions, PassOptions},
};
use std::{collections::BTreeMap, path::PathBuf};

/// Of the largest of a tensor.
const TOLERANCE: f32 = 1e-3;
/// One whose tensors lie `[out, in]`, one `[in, out]`.
const MODELS: [&str; 2] = ["t5_v1_0", "gpt2"];

fn adapter(name: &str) -> PathBuf {
    root().join("lora").join(name)
}

/// Names, shapes and values of a file.
fn tensors(path: &std::path::Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let of = |(name, tensor): (String, safetensors::tensor::TensorView<'_>)| {
        (name, (tensor.shape().to_vec(), floats(tensor.data())))
    };
    file.tensors().into_iter().map(of).collect()
}

fn batch(fixture: &Fixture) -> Batch {
    let bytes = std::fs::read(fixture.folder.join("gradients.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (input, _) = fixture.forward();
    let targets = targets(&file, &input);
    Batch { input, targets }
}

/// The losses of some steps of AdamW, a target token.
fn losses(learner: &Learner, batch: &Batch) -> Vec<f64> {
    let step = |step| {
        let loss = learner.learn(batch, &PassOptions::default()).unwrap();
        let gradient_scale = 1.0 / loss.tokens as f32;
        let adam = AdamW { rate: 2e-2, step, gradient_scale, ..AdamW::default() };
        learner.step(&Optimiser::AdamW(adam)).unwrap();
        loss.sum / loss.tokens as f64
    };
    (1..=20).map(step).collect()
}

fn transposed((shape, values): &(Vec<usize>, Vec<f32>)) -> Vec<f32> {
    let (rows, columns) = (shape[0], shape[1]);
    (0..columns).flat_map(|j| (0..rows).map(move |i| values[i * columns + j])).collect()
}

#[test]
fn loss_and_gradients_match_peft() {
    for name in MODELS {
        let fixture = fixture(name);
        let expected = tensors(&adapter(name).join("gradients.safetensors"));
        for options in backends() {
            let at = format!("{name} {}", label(&options));
            let mut learner = Learner::load(&fixture.folder, &options).unwrap();
            let count = learner.load_lora(adapter(name)).unwrap();
            assert_eq!(2 * count, expected.len() - 1, "{at}");
            let loss = learner.learn(&batch(&fixture), &PassOptions::default()).unwrap();
            let want = f64::from(expected["loss"].1[0]);
            assert!((loss.sum - want).abs() < 1e-5 * want, "{at}: {}, not {want}", loss.sum);
            let mut trained = 0;
            for parameter in learner.parameters() {
                let Some(got) = learner.gradient(&parameter.name).unwrap() else {
                    assert!(parameter.frozen, "{at}: {} has no gradient", parameter.name);
                    continue;
                };
                trained += 1;
                let want = &expected[&format!("gradient.base_model.model.{}", parameter.name)];
                let want = if name == "gpt2" { transposed(want) } else { want.1.clone() };
                assert_eq!(got.len(), want.len());
                let largest = want.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                let off = got.iter().zip(&want).fold(0.0f32, |a, (g, w)| a.max((g - w).abs()));
                let name = &parameter.name;
                assert!(off <= TOLERANCE * largest, "{at} {name}: off by {off} of {largest}");
            }
            assert_eq!(trained, 2 * count, "{at}");
        }
    }
}

#[test]
fn what_is_saved_is_what_peft_saved() {
    let folder = tempfile::tempdir().unwrap();
    for name in MODELS {
        let mut learner = Learner::load(fixture(name).folder, &LoadOptions::default()).unwrap();
        learner.load_lora(adapter(name)).unwrap();
        let output = folder.path().join(name);
        learner.save_lora(&output, name).unwrap();
        let weights = "adapter_model.safetensors";
        assert_eq!(tensors(&output.join(weights)), tensors(&adapter(name).join(weights)));
        let config = |folder: PathBuf| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap())
                .unwrap()
        };
        let (ours, theirs) = (config(output.clone()), config(adapter(name)));
        for (key, value) in ours.as_object().unwrap() {
            if key != "target_modules" {
                assert_eq!(*value, theirs[key], "{name} {key}");
            }
        }
        // It can be read again, and a folder that holds something is left alone.
        let mut again = Learner::load(fixture(name).folder, &LoadOptions::default()).unwrap();
        again.load_lora(&output).unwrap();
        let batch = batch(&fixture(name));
        let loss = |l: &Learner| l.evaluate(&batch, Smoothing::None).unwrap().sum;
        assert_eq!(loss(&again), loss(&learner));
        assert!(learner.save_lora(&output, name).is_err());
    }
}

#[test]
fn adapters_learn_and_merge() {
    for name in MODELS {
        let fixture = fixture(name);
        let batch = batch(&fixture);
        let options = LoadOptions::default();
        let mut learner = Learner::load(&fixture.folder, &options).unwrap();
        let plain = learner.forward(&batch.input).unwrap()[0].values.clone();
        let parameters = learner.parameters();
        let values: Vec<_> = parameters.iter().map(|p| learner.value(&p.name).unwrap()).collect();
        let lora = LoraOptions {
            rank: 2,
            targets: vec!["*.attention.*".into(), "*.ffn.in".into()],
            ..LoraOptions::default()
        };
        let count = learner.add_lora(&lora).unwrap();
        assert_eq!(learner.parameters().len(), parameters.len() + 2 * count);
        assert_eq!(learner.forward(&batch.input).unwrap()[0].values, plain, "B is zero");
        let losses = losses(&learner, &batch);
        assert!(losses[19] < 0.9 * losses[0], "{name}: {losses:?}");
        let still = |learner: &Learner| {
            let value = |p: &seq2seq_models::train::ParameterInfo| learner.value(&p.name).unwrap();
            parameters.iter().map(value).zip(&values).all(|(now, then)| now == *then)
        };
        assert!(still(&learner), "{name}: the base is frozen");
        let adapted = learner.forward(&batch.input).unwrap()[0].values.clone();
        assert_ne!(adapted, plain);
        learner.merge_lora().unwrap();
        assert_eq!(learner.forward(&batch.input).unwrap()[0].values, adapted);
        // A model that is given the merged weights computes the same without adapters.
        let merged = Learner::load(&fixture.folder, &options).unwrap();
        for p in &parameters {
            merged.set_value(&p.name, &learner.value(&p.name).unwrap()).unwrap();
        }
        assert_eq!(merged.forward(&batch.input).unwrap()[0].values, adapted);
        learner.unmerge_lora().unwrap();
        assert!(still(&learner), "{name}: to the bit");
        assert_eq!(learner.forward(&batch.input).unwrap()[0].values, adapted);
    }
}

#[test]
fn what_cannot_be_adapted_is_said() {
    let load = |name: &str| Learner::load(fixture(name).folder, &LoadOptions::default()).unwrap();
    let mut t5 = load("t5_v1_0");
    assert!(t5.merge_lora().unwrap_err().to_string().contains("no adapters"));
    assert!(t5.save_lora("/nonexistent/x", "x").unwrap_err().to_string().contains("no adapters"));
    let odd = LoraOptions { targets: vec!["*.keys".into()], ..LoraOptions::default() };
    let error = t5.add_lora(&odd).unwrap_err().to_string();
    assert!(error.contains("'*.keys'") && error.contains("decoder.layers.*.cross.key"), "{error}");
    let error = t5.load_lora(adapter("gpt2")).unwrap_err().to_string();
    assert!(error.contains("no factor"), "{error}");
    let error = t5.load_lora(fixture("t5_v1_0").folder).unwrap_err().to_string();
    assert!(error.contains("adapter_config.json"), "{error}");
    t5.add_lora(&LoraOptions::default()).unwrap();
    assert!(t5.add_lora(&LoraOptions::default()).unwrap_err().to_string().contains("already"));
}

/// While there are adapters, freezing is of them alone.
#[test]
fn what_adapters_are_for_stays_frozen() {
    let mut learner = Learner::load(fixture("t5_v1_0").folder, &LoadOptions::default()).unwrap();
    let targets = vec!["*.attention.query".into(), "*.attention.value".into()];
    learner.add_lora(&LoraOptions { targets, ..LoraOptions::default() }).unwrap();
    let trained = |learner: &Learner| -> Vec<String> {
        let free = learner.parameters().into_iter().filter(|p| !p.frozen);
        free.map(|p| p.name).collect()
    };
    let all = trained(&learner);
    assert!(!all.is_empty() && all.iter().all(|name| name.contains(".lora_")), "{all:?}");
    learner.freeze(|name| name.contains("decoder"));
    let some = trained(&learner);
    assert!(!some.is_empty() && some.len() < all.len(), "{some:?}");
    assert!(some.iter().all(|name| name.contains(".lora_") && !name.contains("decoder")));
    learner.freeze(|_| false);
    assert_eq!(trained(&learner), all);
}

/// A weight that is frozen is computed with as it is given.
#[test]
fn frozen_weights_can_be_given_other_values() {
    for (name, weight) in [
        ("t5_v1_0", "decoder.block.0.layer.2.DenseReluDense.wo.weight"),
        ("rnn_lstm_bahdanau", "decoder.rnn.weight_hh_l0"),
        ("rnn_lstm_bahdanau", "decoder.rnn.weight_ih_l0"),
    ] {
        let fixture = fixture(name);
        let batch = batch(&fixture);
        let load = || Learner::load(&fixture.folder, &LoadOptions::default()).unwrap();
        let (learner, free) = (load(), load());
        learner.freeze(|_| true);
        let other: Vec<f32> = learner.value(weight).unwrap().iter().map(|v| 0.5 * v).collect();
        let before = learner.forward(&batch.input).unwrap()[0].values.clone();
        learner.set_value(weight, &other).unwrap();
        free.set_value(weight, &other).unwrap();
        let after = learner.forward(&batch.input).unwrap()[0].values.clone();
        assert_ne!(before, after, "{name} {weight}");
        assert_eq!(after, free.forward(&batch.input).unwrap()[0].values, "{name} {weight}");
    }
}

/// The matrix that a recurrent layer multiplies its state with has adapters as others have.
#[test]
fn adapters_within_the_recurrence_learn_and_merge() {
    const STEP: f32 = 1e-2;
    for name in ["rnn_lstm_bahdanau", "rnn_gru_luong_general"] {
        let fixture = fixture(name);
        let batch = batch(&fixture);
        let mut learner = Learner::load(&fixture.folder, &LoadOptions::default()).unwrap();
        let targets = vec!["*.hidden".into()];
        let lora = LoraOptions { rank: 3, targets, ..LoraOptions::default() };
        // Two layers: both directions of the encoder, and the decoder.
        assert_eq!(learner.add_lora(&lora).unwrap(), 6, "{name}");
        let (left, right) =
            ("decoder.rnn.weight_hh_l1.lora_B.weight", "decoder.rnn.weight_hh_l1.lora_A.weight");
        let values = |n: usize| (0..n).map(|i| 0.1 * (0.7 * i as f32).sin()).collect::<Vec<_>>();
        learner.set_value(left, &values(learner.value(left).unwrap().len())).unwrap();
        learner.learn(&batch, &PassOptions::default()).unwrap();
        for factor in [left, right] {
            let gradient = learner.gradient(factor).unwrap().unwrap();
            let value = learner.value(factor).unwrap();
            let largest = gradient.iter().fold(0.0f32, |a, g| a.max(g.abs()));
            assert!(largest > 1e-3, "{name} {factor}");
            for at in [0, value.len() / 2, value.len() - 1] {
                let loss = |step: f32| {
                    let mut moved = value.clone();
                    moved[at] += step;
                    learner.set_value(factor, &moved).unwrap();
                    learner.evaluate(&batch, Smoothing::None).unwrap().sum
                };
                let slope = (loss(STEP) - loss(-STEP)) / f64::from(2.0 * STEP);
                let off = (slope - f64::from(gradient[at])).abs();
                assert!(off < 1e-2 * f64::from(largest), "{name} {factor} {at}: {slope}");
            }
            learner.set_value(factor, &value).unwrap();
        }
        learner.clear_gradients();
        let losses = losses(&learner, &batch);
        assert!(losses[19] < 0.95 * losses[0], "{name}: {losses:?}");
        let adapted = learner.forward(&batch.input).unwrap()[0].values.clone();
        let base = learner.value("decoder.rnn.weight_hh_l1").unwrap();
        learner.merge_lora().unwrap();
        let merged = learner.value("decoder.rnn.weight_hh_l1").unwrap();
        assert_ne!(base, merged);
        let plain = Learner::load(&fixture.folder, &LoadOptions::default()).unwrap();
        for parameter in plain.parameters() {
            plain.set_value(&parameter.name, &learner.value(&parameter.name).unwrap()).unwrap();
        }
        assert_eq!(plain.forward(&batch.input).unwrap()[0].values, adapted, "{name}");
        learner.unmerge_lora().unwrap();
        assert_eq!(learner.value("decoder.rnn.weight_hh_l1").unwrap(), base);
    }
    let mut learner =
        Learner::load(fixture("rnn_gru_fixed").folder, &LoadOptions::default()).unwrap();
    let dropped = LoraOptions { dropout: 0.1, ..LoraOptions::default() };
    let error = learner.add_lora(&dropped).unwrap_err().to_string();
    assert!(error.contains(".hidden'") && error.contains("nothing is dropped"), "{error}");
    let targets = vec!["*.input".into()];
    learner.add_lora(&LoraOptions { targets, ..dropped }).unwrap();
}
