//! Loss and every parameter's gradient as PyTorch's autograd has them.

use crate::support::{
    self, Fixture, fixtures_with, label,
    passes::{floats, gradients, labels, targets},
};
use safetensors::SafeTensors;
use seq2seq_core::{
    Format,
    autodiff::Optimiser,
    train::{AdamW, Smoothing},
};
use seq2seq_models::{
    Learner, LoadOptions,
    train::{Batch, PassOptions},
};
use std::collections::BTreeMap;

/// Of the largest of a tensor.
const TOLERANCE: f64 = 1e-3;

/// What PyTorch computed of a fixture.
struct Expected {
    batch: Batch,
    smoothing: Smoothing,
    loss: f64,
    gradients: BTreeMap<String, Vec<f32>>,
}

fn expected(fixture: &Fixture) -> Expected {
    let bytes = std::fs::read(fixture.folder.join("gradients.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let smoothing = metadata.metadata().as_ref().unwrap()["label_smoothing"].parse().unwrap();
    let (input, _) = fixture.forward();
    // Padded as transformers has them; rows that have no target at all are padding or ignored, both `None` here.
    let shape = file.tensor("labels").unwrap().shape().to_vec();
    let architecture = fixture.json("config.json")["architectures"][0].to_string();
    let targets = match shape[..] {
        // The first and the last token of the answer in each row.
        [_, 2] if architecture.contains("QuestionAnswering") => labels(&file),
        [_, _] => targets(&file, &input),
        _ => labels(&file),
    };
    Expected {
        batch: Batch { input, targets },
        smoothing: if smoothing == 0.0 { Smoothing::None } else { Smoothing::Uniform(smoothing) },
        loss: floats(file.tensor("loss").unwrap().data())[0].into(),
        gradients: gradients(&file),
    }
}

/// The reference first.
fn options() -> Vec<LoadOptions> {
    support::backends()
}

#[test]
fn loss_and_gradients_match_pytorch() {
    let mut worst = (0.0, String::new());
    for fixture in fixtures_with("gradients.safetensors") {
        let expected = expected(&fixture);
        for options in options() {
            let name = format!("{} {}", fixture.name, label(&options));
            let learner = Learner::load(&fixture.folder, &options).unwrap();
            let pass = PassOptions { smoothing: expected.smoothing, ..PassOptions::default() };
            let loss = learner.learn(&expected.batch, &pass).unwrap();
            assert_eq!(loss.tokens, expected.batch.targets.iter().flatten().count());
            let off = (loss.sum - expected.loss).abs() / expected.loss;
            assert!(off < 1e-5, "{name}: the loss is {}, expected {}", loss.sum, expected.loss);
            let again = learner.evaluate(&expected.batch, expected.smoothing).unwrap();
            assert!((again.sum - loss.sum).abs() < 1e-6 * loss.sum, "{name}: evaluated {again:?}");

            let mut trained = Vec::new();
            for parameter in learner.parameters() {
                let Some(got) = learner.gradient(&parameter.name).unwrap() else { continue };
                let want = expected.gradients.get(&parameter.name);
                let want = want.unwrap_or_else(|| panic!("{name}: {} is trained", parameter.name));
                assert_eq!(got.len(), want.len(), "{name} {}", parameter.name);
                let largest = want.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                let off = got.iter().zip(want).fold(0.0f32, |a, (g, w)| a.max((g - w).abs()));
                let off = f64::from(off) / f64::from(largest.max(f32::MIN_POSITIVE));
                // A gradient that vanishes in exact arithmetic is noise on both sides.
                if largest > 1e-5 {
                    worst = if off > worst.0 {
                        (off, format!("{name} {}", parameter.name))
                    } else {
                        worst
                    };
                } else {
                    assert!(
                        got.iter().all(|g| g.abs() < 1e-4),
                        "{name} {} is to vanish",
                        parameter.name
                    );
                }
                trained.push(parameter.name);
            }
            trained.sort();
            assert!(trained.iter().eq(expected.gradients.keys()), "{name}: {trained:?}");
        }
    }
    println!("largest error: {:e} in {}", worst.0, worst.1);
    assert!(worst.0 < TOLERANCE, "{worst:?}");
}

/// ‖got - want‖ / ‖want‖ over the gradients of all parameters.
fn distance(learner: &Learner, want: &BTreeMap<String, Vec<f32>>) -> f64 {
    let (mut difference, mut size) = (0.0, 0.0);
    for (name, want) in want {
        let got = learner.gradient(name).unwrap().unwrap();
        let off = |(g, w): (&f32, &f32)| f64::from(g - w).powi(2);
        difference += got.iter().zip(want).map(off).sum::<f64>();
        size += want.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
    }
    (difference / size).sqrt()
}

/// Training in bf16 is off by as much as rounding does: a few times what the rounding of the weights alone does to f32, as
/// activations and gradients are rounded too.
#[test]
fn bf16_is_off_by_its_rounding() {
    for fixture in fixtures_with("gradients.safetensors") {
        let expected = expected(&fixture);
        let pass = PassOptions { smoothing: expected.smoothing, ..PassOptions::default() };
        let rounded = Learner::load(&fixture.folder, &options()[0]).unwrap();
        for parameter in rounded.parameters().iter().filter(|p| p.shape.len() == 2) {
            let values = rounded.value(&parameter.name).unwrap();
            let round = |v: &f32| half::bf16::from_f32(*v).to_f32();
            rounded
                .set_value(&parameter.name, &values.iter().map(round).collect::<Vec<_>>())
                .unwrap();
        }
        rounded.learn(&expected.batch, &pass).unwrap();
        let of_weights = distance(&rounded, &expected.gradients);
        for options in options() {
            let options = LoadOptions { format: Format::Bf16, ..options };
            let learner = Learner::load(&fixture.folder, &options).unwrap();
            learner.learn(&expected.batch, &pass).unwrap();
            let off = distance(&learner, &expected.gradients);
            println!(
                "{} {}: {off:.1e}, of weights {of_weights:.1e}",
                fixture.name,
                label(&options)
            );
            assert!(off < 5.0 * of_weights, "{}: {off}, of weights {of_weights}", fixture.name);
            assert!(off > 1e-4, "{}: nothing was rounded", fixture.name);
        }
    }
}

/// A learner computes and writes as the model does, and lowers its loss.
#[test]
fn steps_lower_the_loss_and_change_what_is_computed() {
    for name in [
        "t5_v1_1",
        "gpt2",
        "bert_sequence_classification",
        "rnn_lstm_bahdanau",
        "rnn_gru_luong_general",
    ] {
        let fixture = support::fixture(name);
        let Expected { batch, .. } = expected(&fixture);
        for options in options() {
            let learner = Learner::load(&fixture.folder, &options).unwrap();
            let first = learner.parameters()[0].name.clone();
            learner.freeze(|name| name == first);
            let frozen = learner.value(&first).unwrap();
            let before = learner.forward(&batch.input).unwrap();
            let model = fixture.load(&options).forward(&batch.input).unwrap();
            assert_eq!(before[0].values, model[0].values, "{name} {}", label(&options));
            let mut losses = Vec::new();
            for step in 0..8 {
                let loss = learner.learn(&batch, &PassOptions::default()).unwrap();
                losses.push(loss.sum / loss.tokens as f64);
                let settings = AdamW {
                    rate: 1e-2,
                    step: step + 1,
                    gradient_scale: 1.0 / loss.tokens as f32,
                    ..AdamW::default()
                };
                learner.step(&Optimiser::AdamW(settings)).unwrap();
            }
            assert!(losses[7] < 0.8 * losses[0], "{name} {}: {losses:?}", label(&options));
            assert_ne!(before[0].values, learner.forward(&batch.input).unwrap()[0].values);
            assert_eq!(frozen, learner.value(&first).unwrap());
        }
    }
}

/// A copy of a fixture whose config.json has some keys set.
fn configured(fixture: &Fixture, keys: &[(&str, f64)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let weights = "model.safetensors";
    std::fs::copy(fixture.folder.join(weights), dir.path().join(weights)).unwrap();
    let mut config = fixture.json("config.json");
    keys.iter().for_each(|&(key, value)| config[key] = value.into());
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

/// Layers that are computed again drop what was dropped, and give the gradients of those that are kept.
#[test]
fn checkpointing_changes_no_bit() {
    let keys = [
        "dropout_rate",
        "resid_pdrop",
        "attn_pdrop",
        "embd_pdrop",
        "dropout",
        "attention_dropout",
        "activation_dropout",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
    ];
    let transformers = |f: &Fixture| f.json("config.json")["model_type"] != "rnn_seq2seq";
    let mut dropped = 0;
    for fixture in fixtures_with("gradients.safetensors").into_iter().filter(transformers) {
        let Expected { batch, loss, .. } = expected(&fixture);
        let folder = configured(&fixture, &keys.map(|key| (key, 0.2)));
        for options in options() {
            let learner = Learner::load(folder.path(), &options).unwrap();
            let frozen = learner.parameters()[0].name.clone();
            let mut pass = |checkpointing, freezes| {
                learner.freeze(|name| freezes && name == frozen);
                let dropout = Some((7, 1));
                let pass = PassOptions { dropout, checkpointing, ..PassOptions::default() };
                let got = learner.learn(&batch, &pass).unwrap();
                dropped += usize::from((got.sum - loss).abs() > 1e-3);
                let bits = |g: Vec<f32>| g.iter().map(|v| v.to_bits()).collect();
                let of = |p: String| learner.gradient(&p).unwrap().map(bits);
                let names = learner.parameters().into_iter().map(|p| p.name);
                let gradients: Vec<Option<Vec<u32>>> = names.map(of).collect();
                learner.clear_gradients();
                (got, gradients)
            };
            for freezes in [false, true] {
                let (kept, again) = (pass(false, freezes), pass(true, freezes));
                assert_eq!(kept.0, again.0, "{} {}", fixture.name, label(&options));
                assert!(kept.1 == again.1, "{} {}", fixture.name, label(&options));
            }
        }
    }
    assert!(dropped > 0, "nothing was dropped");
}

#[test]
fn recurrent_layers_are_not_checkpointed() {
    let fixture = support::fixture("rnn_lstm_bahdanau");
    let Expected { batch, .. } = expected(&fixture);
    let learner = Learner::load(&fixture.folder, &options()[0]).unwrap();
    let pass = PassOptions { checkpointing: true, ..PassOptions::default() };
    let error = learner.learn(&batch, &pass).unwrap_err().to_string();
    assert!(error.contains("gradient checkpointing"), "{error}");
    learner.learn(&batch, &PassOptions::default()).unwrap();
}

/// Elements are dropped between the layers of a recurrent model as config.json says, and only in training.
#[test]
fn recurrent_models_drop_between_layers() {
    let fixture = support::fixture("rnn_lstm_bahdanau");
    let Expected { batch, loss: without, .. } = expected(&fixture);
    let dir = configured(&fixture, &[("dropout", 0.5)]);
    for options in options() {
        let learner = Learner::load(dir.path(), &options).unwrap();
        let loss = |dropout| {
            let pass = PassOptions { dropout, ..PassOptions::default() };
            let loss = learner.learn(&batch, &pass).unwrap().sum;
            let gradient = learner.gradient("decoder.rnn.weight_ih_l1").unwrap().unwrap();
            learner.clear_gradients();
            (loss, gradient)
        };
        let dropped = loss(Some((7, 1)));
        assert_eq!(dropped, loss(Some((7, 1))), "{}", label(&options));
        assert_ne!(dropped.0, loss(Some((7, 2))).0);
        for (what, got) in [
            ("evaluated", learner.evaluate(&batch, Smoothing::None).unwrap().sum),
            ("without", loss(None).0),
        ] {
            assert!((got - without).abs() < 1e-5 * without, "{what}: {got}, expected {without}");
        }
        assert_ne!(dropped.0, without);
    }
}
