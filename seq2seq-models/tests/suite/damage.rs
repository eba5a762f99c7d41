//! Damaged folders and impossible requests: each a readable error that names what is wrong, never a panic.

use crate::support::fixture;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use seq2seq_models::{
    Device, Error, Forward, LoadOptions, Model, Prompt,
    generate::{Context, GenerationConfig, Plan},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

const WEIGHTS: &str = "model.safetensors";
const T5: &str = "t5_v1_1";

/// Tensors by name, to be changed and written back.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "generation_config.json", WEIGHTS] {
        let from = fixture(name).folder.join(file);
        if from.is_file() {
            fs::copy(from, dir.path().join(file)).unwrap();
        }
    }
    dir
}

fn read(folder: &Path) -> Tensors {
    let bytes = fs::read(folder.join(WEIGHTS)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(n, t)| (n.to_string(), (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
        .collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(n, (dtype, shape, data))| {
        (n, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn with_tensors(name: &str, change: impl FnOnce(&mut Tensors)) -> TempDir {
    let dir = copy(name);
    let mut tensors = read(dir.path());
    change(&mut tensors);
    write(&dir.path().join(WEIGHTS), &tensors);
    dir
}

fn with_config(name: &str, changes: Value) -> TempDir {
    let dir = copy(name);
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(path, config.to_string()).unwrap();
    dir
}

fn load(folder: &Path) -> Result<Model, Error> {
    Model::load(folder, &LoadOptions { device: Device::Reference, ..LoadOptions::default() })
}

/// Loading fails, and the message has all of `words`.
#[track_caller]
fn refused(folder: &Path, words: &[&str]) -> Error {
    let error = load(folder).expect_err("this must not load");
    let message = error.to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    for word in words {
        assert!(message.contains(word), "'{word}' is not in: {message}");
    }
    error
}

#[test]
fn folders_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    refused(&dir.path().join("nowhere"), &["nowhere"]);
    refused(dir.path(), &["config.json", "no such file"]);
    let dir = copy(T5);
    refused(&dir.path().join("config.json"), &["not a folder"]);
    fs::remove_file(dir.path().join(WEIGHTS)).unwrap();
    refused(dir.path(), &[WEIGHTS, "no such file"]);
    fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    refused(dir.path(), &["pytorch_model.bin"]);
}

#[test]
fn configurations_that_cannot_be() {
    let dir = copy(T5);
    for (text, word) in
        [("", "JSON"), ("[1]", "model_type"), ("{}", "model_type"), ("\u{1}", "JSON")]
    {
        fs::write(dir.path().join("config.json"), text).unwrap();
        refused(dir.path(), &["config.json", word]);
    }
    fs::write(dir.path().join("config.json"), [0xff, 0xfe]).unwrap();
    refused(dir.path(), &["config.json"]);
    for (changes, words) in [
        (json!({"model_type": "mystery"}), &["'mystery'", "t5"][..]),
        (json!({"model_type": 5}), &["model_type"]),
        (json!({"architectures": ["T5ForMagic"]}), &["T5ForMagic", "T5ForConditionalGeneration"]),
        (json!({"d_model": "wide"}), &["'d_model'"]),
        (json!({"d_model": -1}), &["'d_model'"]),
        (json!({"num_heads": 0}), &["heads is 0"]),
        (json!({"vocab_size": 1u64 << 60}), &["vocabulary is 1152921504606846976"]),
        (json!({"feed_forward_proj": "gated-mystery"}), &["activation", "mystery"]),
        (json!({"relative_attention_num_buckets": 1}), &["buckets"]),
        (json!({"num_layers": 1_000_000_000}), &["encoder.block.2."]),
    ] {
        refused(with_config(T5, changes).path(), words);
    }
    refused(with_config("mistral", json!({"sliding_window": 0})).path(), &["window", "is 0"]);
    let buckets = with_config("mpnet", json!({"relative_attention_num_buckets": 16}));
    refused(buckets.path(), &["relative_attention_num_buckets", "16", "32"]);
    let chunked = with_config("qwen2", json!({"layer_types": ["chunked_attention"]}));
    refused(chunked.path(), &["layer_types", "'chunked_attention'", "full_attention"]);
    refused(with_config("bart_base", json!({"encoder_attention_heads": 7})).path(), &["7 heads"]);
    for name in ["bert_causal", "roberta", "gpt2"] {
        let crossed = with_config(name, json!({"add_cross_attention": true}));
        refused(crossed.path(), &["config.json", "add_cross_attention"]);
    }
}

#[test]
fn weights_that_are_cut_short_or_lie() {
    let dir = copy(T5);
    let path = dir.path().join(WEIGHTS);
    let whole = fs::read(&path).unwrap();
    for keep in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..keep]).unwrap();
        refused(dir.path(), &[WEIGHTS]);
    }
    let mut lie = whole.clone();
    lie[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    fs::write(&path, &lie).unwrap();
    refused(dir.path(), &[WEIGHTS, "1152921504606846976"]);
    fs::write(&path, [whole, vec![0]].concat()).unwrap();
    refused(dir.path(), &[WEIGHTS, "too many"]);
}

#[test]
fn tensors_that_are_missing_or_of_another_kind() {
    const UP: &str = "decoder.block.1.layer.2.DenseReluDense.wi_1.weight";
    let dir = with_tensors(T5, |t| drop(t.remove(UP)));
    assert!(matches!(refused(dir.path(), &[WEIGHTS, UP]), Error::TensorMissing { .. }));

    let dir = with_tensors(T5, |t| t.get_mut(UP).unwrap().1.swap(0, 1));
    match refused(dir.path(), &[WEIGHTS, UP]) {
        Error::TensorShape { expected, found, .. } => {
            assert_eq!(expected.iter().rev().collect::<Vec<_>>(), found.iter().collect::<Vec<_>>());
        }
        other => panic!("{other}"),
    }

    let dir = with_tensors(T5, |t| t.get_mut(UP).unwrap().0 = Dtype::I32);
    assert!(matches!(refused(dir.path(), &[UP, "I32"]), Error::TensorType { .. }));
    let dir = with_tensors(T5, |t| t.get_mut(UP).unwrap().0 = Dtype::U32);
    assert!(matches!(refused(dir.path(), &[UP, "U32"]), Error::TensorType { .. }));
}

#[test]
fn weights_that_are_no_numbers() {
    for name in [
        "shared.weight",
        "encoder.final_layer_norm.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "decoder.block.0.layer.2.DenseReluDense.wi_1.weight",
    ] {
        for bad in [f32::NAN, f32::INFINITY] {
            let dir = with_tensors(T5, |t| {
                t.get_mut(name).unwrap().2[12..16].copy_from_slice(&bad.to_le_bytes());
            });
            match refused(dir.path(), &[WEIGHTS]) {
                Error::TensorValue { tensor, at, .. } => {
                    assert_eq!((tensor.as_str(), at), (name, 3))
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn shards_are_held_to_their_index() {
    let dir = copy(T5);
    let tensors = read(dir.path());
    let (a, b): (Tensors, Tensors) = tensors
        .iter()
        .map(|(n, t)| (n.clone(), t.clone()))
        .partition(|(n, _)| n.starts_with("enc"));
    fs::remove_file(dir.path().join(WEIGHTS)).unwrap();
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    write(&dir.path().join(first), &a);
    write(&dir.path().join(second), &b);
    let index = |map: &BTreeMap<String, String>| {
        let path = dir.path().join("model.safetensors.index.json");
        fs::write(path, json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    };
    let map: BTreeMap<String, String> = tensors
        .keys()
        .map(|n| (n.clone(), if a.contains_key(n) { first } else { second }.to_string()))
        .collect();
    index(&map);
    let request = fixture(T5).forward().0;
    let whole = load(&fixture(T5).folder).unwrap().forward(&request).unwrap();
    let sharded = load(dir.path()).unwrap().forward(&request).unwrap();
    assert_eq!(whole[0].values, sharded[0].values);

    let with = |tensor: &str, file: &str| {
        let mut map = map.clone();
        map.insert(tensor.into(), file.into());
        index(&map);
    };
    with("phantom", first);
    refused(dir.path(), &["index.json", "phantom"]);
    with("phantom", "../model.safetensors");
    refused(dir.path(), &["index.json", "not a plain file name"]);
    with("phantom", "absent.safetensors");
    refused(dir.path(), &["absent.safetensors", "no such file"]);
}

/// The request fails as bad input, and the message has all of `words`.
#[track_caller]
fn bad_input<T>(result: Result<T, Error>, words: &[&str]) {
    let Some(Error::Input(message)) = result.err() else { panic!("this must be refused as input") };
    for word in words {
        assert!(message.contains(word), "'{word}' is not in: {message}");
    }
}

#[test]
fn requests_that_cannot_be_met() {
    let t5 = load(&fixture(T5).folder).unwrap();
    let vocab = t5.plan().encoder.as_ref().unwrap().embedding.vocab as u32;
    let ask = |input: Vec<Vec<u32>>, decoder: Option<Vec<Vec<u32>>>| {
        let request =
            Forward { input_ids: input, decoder_input_ids: decoder, token_type_ids: None };
        t5.forward(&request)
    };
    bad_input(ask(vec![], None), &["input_ids", "no sequences"]);
    bad_input(ask(vec![vec![3], vec![]], None), &["input_ids", "sequence 1", "empty"]);
    bad_input(
        ask(vec![vec![3], vec![4, vocab]], None),
        &["sequence 1", "position 1", &vocab.to_string()],
    );
    bad_input(ask(vec![vec![3]], None), &["decoder_input_ids", "missing"]);
    bad_input(ask(vec![vec![3]], Some(vec![vec![3], vec![4]])), &["decoder_input_ids", "2", "1"]);
    bad_input(ask(vec![vec![3]], Some(vec![vec![]])), &["decoder_input_ids", "empty"]);
    bad_input(ask(vec![vec![3]], Some(vec![vec![u32::MAX]])), &["decoder_input_ids", "4294967295"]);
    let types = Forward {
        input_ids: vec![vec![3]],
        token_type_ids: Some(vec![vec![1]]),
        ..Forward::default()
    };
    bad_input(t5.forward(&types), &["token_type_ids"]);

    let gpt2 = load(&fixture("gpt2").folder).unwrap();
    let with_types = Forward { token_type_ids: Some(vec![vec![0]]), ..types };
    bad_input(gpt2.forward(&with_types), &["token_type_ids", "no encoder"]);
    let bert = load(&fixture("bert").folder).unwrap();
    for (model, lacks) in [(&gpt2, "no encoder"), (&bert, "no decoder")] {
        let decoder_input_ids = Some(vec![vec![3]]);
        let ask = Forward { input_ids: vec![vec![3]], decoder_input_ids, token_type_ids: None };
        bad_input(model.forward(&ask), &["decoder_input_ids", lacks]);
    }

    let prompt = |ids: Vec<u32>, decoder| Prompt { input_ids: ids, decoder_input_ids: decoder };
    let write = |prompt: Prompt| t5.generate(&[prompt], &GenerationConfig::default(), &mut ());
    bad_input(write(prompt(vec![], None)), &["sequence 0", "empty"]);
    bad_input(write(prompt(vec![vocab], None)), &["position 0"]);
    bad_input(write(prompt(vec![3], Some(vec![0, vocab]))), &["decoder_input_ids", "position 1"]);
}

#[test]
fn plans_for_another_model() {
    let (t5, gpt2) = (load(&fixture(T5).folder).unwrap(), load(&fixture("gpt2").folder).unwrap());
    let prompts = [Prompt::new(vec![5, 4]), Prompt::new(vec![7])];
    let plan = |context| Plan::new(t5.decoding(), &context, &prompts).unwrap();
    let own = t5.context().unwrap();
    let written = t5.run(&plan(own), &mut ()).unwrap();
    let alone = |p: &Prompt| {
        t5.generate(std::slice::from_ref(p), &GenerationConfig::default(), &mut ()).unwrap()
    };
    assert_eq!(written, prompts.iter().flat_map(alone).collect::<Vec<_>>());
    bad_input(gpt2.run(&plan(own), &mut ()), &["an encoder-decoder", "a decoder without encoder"]);
    let wider = Context { vocab: own.vocab + 1, ..own };
    bad_input(t5.run(&plan(wider), &mut ()), &["vocabulary of", &wider.vocab.to_string()]);
}

#[test]
fn more_tokens_than_positions() {
    let bart = load(&fixture("bart_base").folder).unwrap();
    let held = bart.plan().encoder.as_ref().unwrap().max_positions().unwrap();
    let long = |n: usize| vec![vec![5u32; n]];
    let ask = |input, decoder| {
        bart.forward(&Forward {
            input_ids: input,
            decoder_input_ids: decoder,
            token_type_ids: None,
        })
    };
    assert!(ask(long(held), Some(long(held))).is_ok());
    bad_input(ask(long(held + 1), None), &["input_ids", "positions", &held.to_string()]);
    bad_input(ask(long(3), Some(long(held + 1))), &["decoder_input_ids", "positions"]);
    let config = GenerationConfig {
        max_new_tokens: Some(held + 5),
        min_new_tokens: Some(held + 5),
        ..GenerationConfig::default()
    };
    let prompt = Prompt::new(vec![5]);
    bad_input(bart.generate(&[prompt], &config, &mut ()), &["positions", &held.to_string()]);
}

/// Where a layer sees through a window, what is longer than the window is refused, not computed as if there were none.
#[test]
fn more_tokens_than_a_window() {
    for (name, changes, window) in [
        ("mistral", json!({"sliding_window": 6}), Some(6)),
        ("mistral", json!({"sliding_window": null}), None),
        ("mistral", json!({"sliding_window": 64}), None),
        ("qwen2", json!({}), None),
        ("qwen2", json!({"use_sliding_window": true}), None),
        ("qwen2", json!({"use_sliding_window": true, "max_window_layers": 2}), Some(6)),
        ("qwen2", json!({"max_window_layers": 2}), None),
        (
            "qwen3",
            json!({
                "use_sliding_window": true,
                "sliding_window": 5,
                "layer_types": ["full_attention", "sliding_attention"],
            }),
            Some(5),
        ),
    ] {
        let dir = with_config(name, changes.clone());
        let (windowed, full) = (load(dir.path()).unwrap(), load(&fixture(name).folder).unwrap());
        assert_eq!(windowed.plan().decoder.as_ref().unwrap().max_positions(), window, "{changes}");
        let ask = |model: &Model, n: u32| {
            model.forward(&Forward { input_ids: vec![(3..3 + n).collect()], ..Forward::default() })
        };
        let values = |model, n| ask(model, n).unwrap()[0].values.clone();
        let within = window.unwrap_or(9) as u32;
        assert_eq!(values(&windowed, within), values(&full, within), "{name} {changes}");
        let Some(window) = window else { continue };
        bad_input(ask(&windowed, within + 1), &["sliding window of", &window.to_string()]);
        let config = GenerationConfig { min_new_tokens: Some(9), ..GenerationConfig::default() };
        let generated = windowed.generate(&[Prompt::new(vec![5, 4])], &config, &mut ());
        bad_input(generated, &["sliding window of", &window.to_string()]);
    }
}
