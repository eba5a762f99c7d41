//! `seq2seq generate --attention`.

use crate::support::{fixture, json_lines, model, run, run_with};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::Path;

const TOLERANCE: f64 = 1e-4;

/// The data of a page.
fn data(page: &Path) -> Value {
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(r#"<script id="data" type="application/json">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// A page about lines of input.
fn page(name: &str, lines: &[Value], more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.html");
    let fixed = ["generate", "--input=-", "--attention", path.to_str().unwrap()];
    let args = fixed.iter().chain(more).map(ToString::to_string).chain(model(name));
    let input: Vec<u8> = lines.iter().flat_map(|l| format!("{l}\n").into_bytes()).collect();
    run_with(args, &input).ok();
    data(&path)
}

/// Values of a tensor of a fixture, and its shape.
fn tensor(bytes: &[u8], name: &str) -> (Vec<usize>, Vec<f64>) {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    let values = tensor.data().as_chunks::<4>().0;
    (tensor.shape().to_vec(), values.iter().map(|b| f32::from_le_bytes(*b).into()).collect())
}

/// Rows of ids without their padding.
fn rows(file: &SafeTensors<'_>, ids: &str, mask: &str) -> Vec<Vec<i64>> {
    let integers = |name: &str| -> Vec<i64> {
        let tensor = file.tensor(name).unwrap();
        tensor.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
    };
    let width = file.tensor(ids).unwrap().shape()[1];
    let (ids, mask) = (integers(ids), integers(mask));
    let row = |(ids, mask): (&[i64], &[i64])| {
        ids.iter().zip(mask).filter(|(_, m)| **m != 0).map(|(id, _)| *id).collect()
    };
    ids.chunks(width).zip(mask.chunks(width)).map(row).collect()
}

/// The weights of the only step of a result: `[head][column]` of a layer.
fn only_step(data: &Value, result: usize, layer: usize) -> Vec<f64> {
    let sequence = &data["results"][result]["sequences"][0];
    assert_eq!(sequence["steps"].as_array().unwrap().len(), 1);
    let scale = data["scale"].as_f64().unwrap();
    let weights = sequence["weights"][layer].as_array().unwrap();
    weights.iter().map(|w| w.as_f64().unwrap() / scale).collect()
}

#[track_caller]
fn assert_close(got: &[f64], expected: &[f64], scale: &Value, at: &str) {
    // What a page rounds away.
    let bound = TOLERANCE + 0.5 / scale.as_f64().unwrap();
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= bound, "{at}: {g}, not {e}");
    }
}

#[test]
fn cross_attention_is_that_of_transformers() {
    for name in ["t5_v1_0", "bart_base", "marian_shared", "rnn_gru_bahdanau", "rnn_lstm_luong_dot"]
    {
        let forward = std::fs::read(fixture(name).join("forward.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&forward).unwrap();
        let sources = rows(&file, "input_ids", "attention_mask");
        let targets = rows(&file, "decoder_input_ids", "decoder_attention_mask");
        let expected = std::fs::read(fixture(name).join("attentions.safetensors")).unwrap();
        let layers = SafeTensors::deserialize(&expected).unwrap().len();
        for (i, (source, target)) in sources.iter().zip(&targets).enumerate() {
            // What a prompt does not begin with would be put before it.
            let start = format!("--decoder-start-token-id={}", target[0]);
            let line = |t| json!({"input_ids": source, "decoder_input_ids": target[..=t]});
            let lines: Vec<Value> = (0..target.len()).map(line).collect();
            let data = page(name, &lines, &[&start, "--max-new-tokens=1", "--num-beams=1"]);
            assert_eq!(data["kind"], "cross");
            for t in 0..target.len() {
                assert_eq!(data["results"][t]["sequences"][0]["columns"], json!(source));
                for layer in 0..layers {
                    let got = only_step(&data, t, layer);
                    let (shape, values) = tensor(&expected, &format!("cross_attentions.{layer}"));
                    let [_, heads, length, width] = shape.try_into().unwrap();
                    assert_eq!(got.len(), heads * source.len());
                    for (h, got) in got.chunks(source.len()).enumerate() {
                        let row = ((i * heads + h) * length + t) * width;
                        assert_close(got, &values[row..], &data["scale"], name);
                    }
                }
            }
        }
    }
}

#[test]
fn self_attention_is_that_of_transformers() {
    for name in ["gpt2", "llama"] {
        let forward = std::fs::read(fixture(name).join("forward.safetensors")).unwrap();
        let prompts =
            rows(&SafeTensors::deserialize(&forward).unwrap(), "input_ids", "attention_mask");
        let lines: Vec<Value> = prompts.iter().map(|ids| json!({"input_ids": ids})).collect();
        let data = page(name, &lines, &["--max-new-tokens=1", "--num-beams=1"]);
        assert_eq!(data["kind"], "self");
        let expected = std::fs::read(fixture(name).join("self_attentions.safetensors")).unwrap();
        for (i, ids) in prompts.iter().enumerate() {
            for layer in 0..2 {
                let (shape, values) = tensor(&expected, &format!("self_attentions.{layer}"));
                let [_, heads, length, width] = shape.try_into().unwrap();
                let got = only_step(&data, i, layer);
                assert_eq!(got.len(), heads * ids.len());
                for (h, got) in got.chunks(ids.len()).enumerate() {
                    let row = ((i * heads + h) * length + ids.len() - 1) * width;
                    assert_close(got, &values[row..], &data["scale"], name);
                }
            }
        }
    }
}

/// What was written is attended to as well, but not before it is there.
#[test]
fn a_decoder_attends_to_what_it_wrote() {
    let data = page(
        "gpt2",
        &[json!({"input_ids": [5, 9, 11]})],
        &["--max-new-tokens=4", "--min-new-tokens=4"],
    );
    let sequence = &data["results"][0]["sequences"][0];
    assert_eq!((&sequence["given"], sequence["columns"].as_array().unwrap().len()), (&json!(3), 6));
    let heads = sequence["heads"].as_u64().unwrap() as usize;
    let weights = sequence["weights"][1].as_array().unwrap();
    for (n, row) in weights.chunks(6).enumerate() {
        let step = n / heads;
        let row: Vec<u64> = row.iter().map(|w| w.as_u64().unwrap()).collect();
        assert!(row[3 + step..].iter().all(|&w| w == 0), "{row:?} in step {step}");
        assert!(row.iter().sum::<u64>().abs_diff(10_000) <= 6, "{row:?}");
    }
}

#[test]
fn pages_hold_the_results_and_the_beams_that_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.html");
    let texts = [
        "generate",
        "--json",
        "--num-beams=4",
        "--num-return-sequences=2",
        "speak: 7",
        "speak: $1,250.75",
    ];
    let plain = run(texts).ok();
    let with = run(texts.iter().copied().chain(["--attention", path.to_str().unwrap()])).ok();
    assert_eq!(with, plain, "a page changes no result");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let data = data(&path);
    for line in json_lines(&plain) {
        let [row, sequence] = ["row", "sequence"].map(|k| line[k].as_u64().unwrap() as usize);
        let shown = &data["results"][row]["sequences"][sequence];
        assert_eq!((&shown["text"], &shown["score"]), (&line["text"], &line["score"]));
        let steps = shown["steps"].as_array().unwrap();
        let ids: Vec<&Value> = steps.iter().map(|s| &s["id"]).collect();
        assert_eq!(json!(ids), json!(line["ids"].as_array().unwrap()[1..]));
        let sum: f64 = steps.iter().map(|s| s["log_prob"].as_f64().unwrap()).sum();
        assert!((sum / steps.len() as f64 - line["score"].as_f64().unwrap()).abs() < 1e-5);
        for id in ids {
            assert!(data["tokens"][id.to_string()]["text"].is_string(), "{id}");
        }
    }
    for result in data["results"].as_array().unwrap() {
        let lost = result["lost"].as_array().unwrap();
        assert!(!lost.is_empty());
        let reasons = ["outrun", "surpassed", "unfinished"];
        assert!(lost.iter().all(|l| reasons.contains(&l["reason"].as_str().unwrap())));
    }
    let text = run(["generate", "--attention", path.to_str().unwrap(), "speak: 7"]).ok();
    assert_eq!(text, "seven\n");
}

#[test]
fn what_has_no_attention_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.html");
    let option = format!("--attention={}", path.display());
    for (name, says) in [("bert_masked_lm", "cannot generate"), ("rnn_gru_fixed", "no attention")] {
        let args = ["generate".into(), "--input=-".into(), option.clone()];
        let error =
            run_with([&args[..], &model(name)].concat(), b"{\"input_ids\": [5, 6]}").error(2);
        assert!(error.contains(says), "{name}: {error}");
    }
    // Neither a wrong line nor a folder that is not there leaves a page.
    run_with(["generate", "--input=-", &option], b"{\"text\": 8}").error(2);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    run(["generate", "speak: 7", "--attention=/no/such/folder/map.html"]).error(1);
}
