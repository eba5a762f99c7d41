//! Models with low-rank adapters: beside peft, beside training, stored, and what cannot be added.

use crate::support::{
    Fixture, backends, fixture, label,
    passes::{floats, targets},
    root,
    weights::{Tensors, WEIGHTS, read, write},
    with_format,
};
use safetensors::{Dtype, SafeTensors};
use seq2seq_core::Format;
use seq2seq_models::{
    Error, Files, Forward, Learner, LoadOptions, Model, checkpoint::Checkpoint, convert,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// One whose tensors lie `[out, in]`, one `[in, out]`.
const MODELS: [&str; 2] = ["t5_v1_0", "gpt2"];
const ADAPTER: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

fn adapter(name: &str) -> PathBuf {
    root().join("lora").join(name)
}

fn adapted(options: &LoadOptions, folder: impl Into<PathBuf>) -> LoadOptions {
    LoadOptions { adapter: Some(folder.into()), ..options.clone() }
}

/// What a fixture is asked, and its targets.
fn asked(fixture: &Fixture) -> (Forward, Vec<Option<u32>>) {
    let bytes = fs::read(fixture.folder.join("gradients.safetensors")).unwrap();
    let (input, _) = fixture.forward();
    let targets = targets(&SafeTensors::deserialize(&bytes).unwrap(), &input);
    (input, targets)
}

/// The cross-entropy of the targets, summed, in f64.
fn loss(logits: &[f32], targets: &[Option<u32>]) -> f64 {
    let of = |(row, target): (&[f32], &Option<u32>)| {
        let row = row.iter().map(|&v| f64::from(v));
        let log_sum = row.clone().map(f64::exp).sum::<f64>().ln();
        target.map_or(0.0, |t| log_sum - row.clone().nth(t as usize).unwrap())
    };
    logits.chunks(logits.len() / targets.len()).zip(targets).map(of).sum()
}

fn logits(model: &Model, input: &Forward) -> Vec<f32> {
    model.forward(input).unwrap()[0].values.clone()
}

/// A copy of an adapter, its configuration and its tensors changed.
fn changed(
    name: &str,
    config: impl Fn(&mut serde_json::Value),
    tensors: impl Fn(&mut Tensors),
) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut json = serde_json::from_slice(&fs::read(adapter(name).join(CONFIG)).unwrap()).unwrap();
    config(&mut json);
    fs::write(folder.path().join(CONFIG), json.to_string()).unwrap();
    fs::copy(adapter(name).join(ADAPTER), folder.path().join(WEIGHTS)).unwrap();
    let mut held = read(folder.path());
    tensors(&mut held);
    write(folder.path(), &held, None);
    fs::rename(folder.path().join(WEIGHTS), folder.path().join(ADAPTER)).unwrap();
    folder
}

#[test]
fn the_loss_is_that_of_peft() {
    for name in MODELS {
        let fixture = fixture(name);
        let (input, targets) = asked(&fixture);
        let bytes = fs::read(adapter(name).join("gradients.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let want = f64::from(floats(expected.tensor("loss").unwrap().data())[0]);
        for options in backends() {
            let plain = Model::load(&fixture.folder, &options).unwrap();
            let model = Model::load(&fixture.folder, &adapted(&options, adapter(name))).unwrap();
            let got = loss(&logits(&model, &input), &targets);
            let at = format!("{name} {}: {got}, not {want}", label(&options));
            assert!((got - want).abs() < 1e-5 * want, "{at}");
            let without = loss(&logits(&plain, &input), &targets);
            assert!((without - want).abs() > 1e-2 * want, "the adapters change nothing");
            assert_eq!(model.bytes(), plain.bytes());
        }
    }
}

/// Adding in training is another sum: of products in another order.
#[test]
fn a_learner_with_the_adapters_computes_the_same() {
    for name in MODELS {
        let fixture = fixture(name);
        let (input, _) = asked(&fixture);
        let options = LoadOptions::default();
        let mut learner = Learner::load(&fixture.folder, &options).unwrap();
        learner.load_lora(adapter(name)).unwrap();
        let want = &learner.forward(&input).unwrap()[0].values;
        let with = adapted(&options, adapter(name));
        let got = logits(&Model::load(&fixture.folder, &with).unwrap(), &input);
        let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-5 * largest, "{name}: {got}, not {want}");
        }
        // It can be trained on from there, and the sums are its weights.
        let further = Learner::load(&fixture.folder, &with).unwrap();
        assert_eq!(further.forward(&input).unwrap()[0].values, got);
    }
}

#[test]
fn a_folder_that_was_converted_with_adapters_has_them() {
    for name in MODELS {
        let fixture = fixture(name);
        let (input, _) = asked(&fixture);
        let files = Files::folder(&fixture.folder).unwrap();
        for format in [Format::Bf16, Format::Int8] {
            let plain = with_format(&LoadOptions::default(), format);
            let options = adapted(&plain, adapter(name));
            let dir = tempfile::tempdir().unwrap();
            let output = dir.path().join("out");
            convert(&files, &options, &output).unwrap();
            let stored = logits(&Model::load(&output, &plain).unwrap(), &input);
            let loaded = logits(&Model::load(&fixture.folder, &options).unwrap(), &input);
            assert_eq!(stored, loaded, "{name} {format}");
            // To what is stored nothing can be added.
            let error = Model::load(&output, &options).unwrap_err().to_string();
            assert!(error.contains("no adapters can be added"), "{error}");
        }
    }
}

/// Factors in half precision, a rank of its own for one module, and α / √r.
#[test]
fn factors_may_be_of_other_ranks_and_types() {
    let fixture = fixture("gpt2");
    let (input, _) = asked(&fixture);
    let options = LoadOptions::default();
    let with = |folder: &Path| {
        logits(&Model::load(&fixture.folder, &adapted(&options, folder)).unwrap(), &input)
    };
    let plain = with(&adapter("gpt2"));
    // A rank more whose factors are zero, and the scale that keeps α / r.
    let wider = changed(
        "gpt2",
        |config| {
            config["rank_pattern"] = serde_json::json!({"c_attn": 4});
            config["r"] = 4.into();
            config["lora_alpha"] = (5.0 / 3.0 * 4.0).into();
        },
        |tensors| {
            for (name, (_, shape, bytes)) in tensors {
                let rows: Vec<&[u8]> = bytes.chunks(4 * shape[1]).collect();
                *bytes = match name.contains("lora_A") {
                    true => [bytes.clone(), vec![0; 4 * shape[1]]].concat(),
                    false => rows.iter().flat_map(|row| [*row, &[0; 4]].concat()).collect(),
                };
                shape[usize::from(name.contains("lora_B"))] += 1;
            }
        },
    );
    let close = |got: &[f32]| {
        let largest = plain.iter().fold(0f32, |m, v| m.max(v.abs()));
        got.iter().zip(&plain).all(|(g, p)| (g - p).abs() < 1e-5 * largest)
    };
    assert!(close(&with(wider.path())));
    let by_root = changed(
        "gpt2",
        |config| {
            config["use_rslora"] = true.into();
            config["lora_alpha"] = (5.0 / 3f64.sqrt()).into();
        },
        |_| (),
    );
    assert!(close(&with(by_root.path())));
    // What bf16 loses, but no more.
    let half = changed(
        "gpt2",
        |_| (),
        |tensors| {
            for (dtype, _, bytes) in tensors.values_mut() {
                *dtype = Dtype::BF16;
                *bytes = floats(bytes)
                    .iter()
                    .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
                    .collect();
            }
        },
    );
    let got = with(half.path());
    let largest = plain.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(!close(&got) && got.iter().zip(&plain).all(|(g, p)| (g - p).abs() < 2e-2 * largest));
}

/// peft saves the layers that it trained whole (`modules_to_save`) beside the factors, such as a new classifier.
#[test]
fn modules_that_were_saved_take_the_place_of_the_checkpoints() {
    let fixture = fixture("bert_sequence_classification");
    let (input, _) = fixture.forward();
    let options = LoadOptions::default();
    let plain = Model::load(&fixture.folder, &options).unwrap();
    let classifier = {
        let checkpoint = Checkpoint::open(Files::folder(&fixture.folder).unwrap(), None).unwrap();
        checkpoint.tensor("classifier.weight").unwrap().unwrap()
    };
    let folder = changed(
        "gpt2",
        |config| config["modules_to_save"] = serde_json::json!(["classifier"]),
        |tensors| {
            tensors.clear();
            let doubled = classifier.to_f32().into_iter().flat_map(|v| (2.0 * v).to_le_bytes());
            let tensor = (Dtype::F32, classifier.shape().to_vec(), doubled.collect());
            tensors.insert("base_model.model.classifier.weight".into(), tensor);
            let zeros = vec![0; 4 * classifier.shape()[0]];
            let bias = (Dtype::F32, classifier.shape()[..1].to_vec(), zeros);
            tensors.insert("base_model.model.classifier.bias".into(), bias);
        },
    );
    let model = Model::load(&fixture.folder, &adapted(&options, folder.path())).unwrap();
    let bias = {
        let files = Files::folder(&fixture.folder).unwrap();
        let checkpoint = Checkpoint::open(files, None).unwrap();
        checkpoint.tensor("classifier.bias").unwrap().unwrap().to_f32()
    };
    let (got, was) = (logits(&model, &input), logits(&plain, &input));
    for (i, (got, was)) in got.iter().zip(&was).enumerate() {
        let want = 2.0 * (was - bias[i % bias.len()]);
        assert!((got - want).abs() < 1e-4 * want.abs().max(1.0), "{got}, not {want}");
    }
}

/// It lies `[out, in]` in families whose other matrices lie `[in, out]`.
#[test]
fn an_output_layer_of_its_own_may_have_an_adapter() {
    let fixture = fixture("gpt2");
    let (input, _) = fixture.forward();
    let mut tensors = read(&fixture.folder);
    let (_, table) = tensors.iter().find(|(name, _)| name.ends_with("wte.weight")).unwrap();
    let (table, shape) = (table.clone(), table.1.clone());
    tensors.insert("lm_head.weight".into(), table);
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture.folder.join("config.json"), folder.path().join("config.json")).unwrap();
    write(folder.path(), &tensors, None);
    let ones = |shape: [usize; 2]| {
        let bytes = (0..shape[0] * shape[1]).flat_map(|_| 1f32.to_le_bytes()).collect();
        (Dtype::F32, shape.to_vec(), bytes)
    };
    let adapter = changed(
        "gpt2",
        |_| (),
        |tensors| {
            tensors.clear();
            for (factor, shape) in [("A", [3, shape[1]]), ("B", [shape[0], 3])] {
                tensors
                    .insert(format!("base_model.model.lm_head.lora_{factor}.weight"), ones(shape));
            }
        },
    );
    let options = LoadOptions::default();
    let plain = logits(&Model::load(folder.path(), &options).unwrap(), &input);
    let model = Model::load(folder.path(), &adapted(&options, adapter.path())).unwrap();
    // Each score of a row grows by alpha times the sum of what the layer reads.
    let (got, largest) = (logits(&model, &input), plain.iter().fold(0f32, |m, v| m.max(v.abs())));
    for (got, plain) in got.chunks(shape[0]).zip(plain.chunks(shape[0])) {
        let grown: Vec<f32> = got.iter().zip(plain).map(|(g, p)| g - p).collect();
        assert!(grown[0].abs() > 1e-2, "{grown:?}");
        assert!(grown.iter().all(|g| (g - grown[0]).abs() < 1e-4 * (largest + grown[0].abs())));
    }
}

#[test]
fn what_cannot_be_added_is_said() {
    let options = LoadOptions::default();
    let complaint = |name: &str, folder: &Path| {
        let loaded = Model::load(fixture(name).folder, &adapted(&options, folder));
        loaded.expect_err("an error").to_string()
    };
    let says = |name: &str, folder: &Path, words: &[&str]| {
        let error = complaint(name, folder);
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    };
    says("t5_v1_0", Path::new("/nonexistent/x"), &["/nonexistent/x"]);
    says("t5_v1_0", &fixture("t5_v1_0").folder, &[CONFIG, "no such file"]);
    says("t5_v1_0", &adapter("gpt2"), &[ADAPTER, "no matrix of its own"]);
    let none = |_: &mut serde_json::Value| ();
    let first = |tensors: &Tensors, factor: &str| {
        tensors.keys().find(|name| name.contains(factor)).unwrap().clone()
    };
    for factor in ["lora_A", "lora_B"] {
        let one = changed("gpt2", none, |t| drop(t.remove(&first(t, factor))));
        says("gpt2", one.path(), &[ADAPTER, "one factor of two"]);
    }
    let one_more = |to: &'static str| {
        changed("gpt2", none, move |t| {
            let held = t[&first(t, "lora_A")].clone();
            t.insert(to.into(), held);
        })
    };
    says("gpt2", one_more("base_model.model.lm_head.lora_A.weight").path(), &["one factor of two"]);
    says("gpt2", one_more("transformer.wte.weight").path(), &["base_model.model."]);
    let table = one_more("base_model.model.transformer.wte.lora_embedding_A");
    says("gpt2", table.path(), &["lora_embedding_A", "no factor"]);
    let narrow = changed("gpt2", none, |t| {
        let (_, shape, bytes) = t.get_mut(&first(t, "lora_A")).unwrap();
        shape[1] -= 1;
        bytes.truncate(4 * shape[0] * shape[1]);
    });
    says("gpt2", narrow.path(), &[ADAPTER, "no change of 'transformer.h.0."]);
    let flat = changed("gpt2", none, |t| {
        let (_, shape, _) = t.get_mut(&first(t, "lora_A")).unwrap();
        *shape = vec![shape[0] * shape[1]];
    });
    says("gpt2", flat.path(), &[ADAPTER, "A of ["]);
    let nan = changed("gpt2", none, |t| {
        t.get_mut(&first(t, "lora_B")).unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let error = Model::load(fixture("gpt2").folder, &adapted(&options, nan.path())).unwrap_err();
    assert!(matches!(error, Error::TensorValue { .. }), "{error}");
    let integers =
        changed("gpt2", none, |t| t.get_mut(&first(t, "lora_A")).unwrap().0 = Dtype::I32);
    says("gpt2", integers.path(), &[ADAPTER, "I32"]);
    let dora = changed("gpt2", |c| c["use_dora"] = true.into(), |_| ());
    says("gpt2", dora.path(), &[CONFIG, "use_dora"]);
    let empty = changed("gpt2", none, Tensors::clear);
    says("gpt2", empty.path(), &[ADAPTER, "holds no adapters"]);
    // Cut short at any length, it is an error.
    let bytes = fs::read(adapter("gpt2").join(ADAPTER)).unwrap();
    for length in (0..bytes.len()).step_by(311) {
        let cut = changed("gpt2", none, |_| ());
        fs::write(cut.path().join(ADAPTER), &bytes[..length]).unwrap();
        says("gpt2", cut.path(), &[ADAPTER]);
    }
}
