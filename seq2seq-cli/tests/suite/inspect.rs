//! `seq2seq inspect` and `bench`, and what the program says of itself.

use crate::support::{self, fixture, model, run, run_with};
use serde_json::{Value, json};
use std::{process::Stdio, time::Duration};

fn arguments(first: &[&str], name: &str) -> Vec<String> {
    first.iter().map(ToString::to_string).chain(model(name)).collect()
}

#[test]
fn inspect_tells_what_a_model_is() {
    let text = run(arguments(&["inspect"], "bart_published")).ok();
    for part in [
        "bart: text",
        "encoder",
        "decoder",
        "parameters",
        "f32",
        "int8",
        "int4",
        "num_beams = ",
        "(generation_config.json)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let facts: Value =
        serde_json::from_str(&run(arguments(&["inspect", "--json"], "gpt2")).ok()).unwrap();
    assert_eq!(
        (&facts["family"], &facts["output"], &facts["encoder"]),
        (&json!("gpt2"), &json!("text"), &Value::Null)
    );
    let text = run(arguments(&["inspect"], "rnn_lstm_bahdanau")).ok();
    for part in [
        "rnn_seq2seq: text",
        "2 LSTM layers of width 9 in each direction, vocabulary 47",
        "2 LSTM layers of width 21, vocabulary 53",
        "attention: bahdanau, fed with the context",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(facts["decoding"]["top_k"], json!({"value": 50, "from": "default"}));
    assert!(facts["tokenizer"]["missing"].is_string() && facts["parameters"].as_u64() > Some(1000));
    assert!(run(["inspect"]).ok().contains("default model"));
}

/// `inspect --compare-formats -` on lines of input.
fn compare(args: &[&str], name: Option<&str>, lines: &str) -> support::Done {
    let first = [&["inspect", "--compare-formats", "-", "--threads=1"], args].concat();
    let model = name.map(model).into_iter().flatten();
    run_with(first.iter().map(ToString::to_string).chain(model), lines.as_bytes())
}

#[test]
fn formats_are_compared() {
    let ids = "{\"input_ids\": [5, 9, 17, 2]}\n{\"input_ids\": [7, 30, 11]}\n";
    let json = |name, args: &[&str]| -> Value {
        let args = [args, &["--json"]].concat();
        serde_json::from_str(&compare(&args, Some(name), ids).ok()).unwrap()
    };
    let facts = json("t5_v1_0", &["--max-new-tokens=5"]);
    assert_eq!(
        (&facts["rows"], &facts["tokens"], &facts["max_new_tokens"]),
        (&json!(2), &json!(7), &json!(5))
    );
    let formats = facts["formats"].as_array().unwrap();
    // All but f32, each with its figures.
    assert_eq!(formats.len(), seq2seq_core::Format::ALL.len() - 1);
    for found in formats {
        assert!(found["next_token"]["kl_mean"].as_f64() > Some(0.0), "{found}");
        // A weight of f16 is off by 2^-12 of itself at most.
        let least = if found["format"] == "f16" { 1e-5 } else { 1e-4 };
        assert!(found["modules"][0]["relative_error"].as_f64() > Some(least), "{found}");
        assert_eq!(found["states"], Value::Null);
        assert!(found["bytes"].as_u64() < facts["bytes_f32"].as_u64());
    }
    let facts = json("bert_sequence_classification", &["--format=int8"]);
    assert_eq!(facts["formats"].as_array().unwrap().len(), 1);
    let states = &facts["formats"][0]["states"];
    assert!(
        states["cosine_lowest"].as_f64() > Some(0.9) && states["logits_relative_error"].is_f64()
    );

    // The model in the program, on texts; a line for each format says what it comes to.
    let text = compare(&["--max-new-tokens=8"], None, "{\"text\": \"speak: 12\"}\n").ok();
    for part in
        ["bf16: largest: ", "int8: largest: ", "decoder.layers.0.ffn.out  ", "identical in 100.00%"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn comparisons_say_what_is_wrong_with_their_input() {
    for (name, lines, parts) in [
        ("t5_v1_0", "", &["no inputs"][..]),
        ("t5_v1_0", "{\"input_ids\": [5]}\n{\"input_ids\": [99999]}\n", &["line 2", "99999"]),
        ("gpt2", "{\"text\": \"a\"}\n", &["line 1", "tokenizer"]),
    ] {
        let message = compare(&[], Some(name), lines).error(2);
        assert!(parts.iter().all(|p| message.contains(p)), "{message}");
    }
    let message = run(arguments(&["inspect", "--compare-formats=/no/such/file"], "gpt2")).error(2);
    assert!(message.contains("/no/such/file"), "{message}");
}

#[test]
fn inspect_lists_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("bert").join(file), folder.path().join(file)).unwrap();
    }
    let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["num_hidden_layers"] = json!(config["num_hidden_layers"].as_u64().unwrap() + 1);
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let done = run(["inspect", "--json", "--model", folder.path().to_str().unwrap()]);
    assert_eq!(done.code, Some(2));
    let facts: Value = serde_json::from_str(&done.stdout).unwrap();
    let problems = facts["problems"].as_array().unwrap();
    assert!(
        problems.len() > 5 && problems[0].as_str().unwrap().contains("encoder.layer."),
        "{problems:?}"
    );
    assert!(done.stderr.starts_with("error: ") && done.stderr.contains("problems"));
}

#[test]
fn bench_ends_with_its_numbers() {
    for (name, more) in [
        ("t5_v1_0", &["--new=4", "--num-beams=2"][..]),
        ("gpt2", &["--new=3"]),
        ("bart_published", &["--new=5"]),
        ("marian_shared", &["--new=5", "--num-beams=4"]),
        ("bert", &[]),
        ("gpt2", &["--new=0"]),
        ("t5_v1_0", &["--new=0", "--format=int8"]),
    ] {
        let args =
            [&["bench", "--batch=2", "--source=5", "--runs=3", "--threads=1", "--json"][..], more]
                .concat();
        let stdout = run(arguments(&args, name)).ok();
        let facts: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        assert!(
            facts["seconds"].as_f64().unwrap() > 0.0
                && facts["tokens_per_second"].as_f64().unwrap() > 0.0
        );
        assert_eq!(facts["runs"].as_array().unwrap().len(), 3, "{name}");
        let first = facts["first_seconds"].as_f64().unwrap();
        assert!(first > 0.0 && facts["load_seconds"].as_f64().unwrap() > 0.0, "{name}");
        let bytes = |field: &str| facts[field].as_u64().unwrap();
        let inspected = run(arguments(&["inspect", "--json"], name)).ok();
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        let format = facts["format"].as_str().unwrap();
        assert_eq!(
            bytes("weight_bytes") + bytes("table_bytes"),
            inspected["bytes"][format].as_u64().unwrap(),
            "{name}"
        );
        // Its only table is its output layer too, which counts as that.
        assert_eq!(bytes("table_bytes") == 0, name == "marian_shared", "{name}");
        assert!(bytes("weight_bytes") > 0, "{name}");
    }
    assert!(
        run(arguments(&["bench", "--runs=1", "--source=5", "--new=2"], "gpt2"))
            .ok()
            .contains("tokens/s")
    );
}

/// A model is loaded once for all cases, each of which is a line.
#[test]
fn bench_times_several_cases() {
    let args = ["bench", "--runs=1", "--source=5", "--new=2,3", "--num-beams=1,2", "--json"];
    let stdout = run(arguments(&args, "t5_v1_0")).ok();
    let facts = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let cases: Vec<_> = facts.map(|f| (f["num_beams"].as_u64(), f["new"].as_u64())).collect();
    let all = [(1, 2), (1, 3), (2, 2), (2, 3)].map(|(beams, new)| (Some(beams), Some(new)));
    assert_eq!(cases, all);
    // What only reads is read once.
    let stdout = run(arguments(&args, "bert")).ok();
    assert_eq!(stdout.lines().count(), 1);
}

/// It goes on until somebody ends it, and takes no memory for runs to come.
#[test]
fn bench_runs_as_long_as_it_is_let() {
    let args = ["bench", "--runs=1000000000000", "--new=1", "--threads=1"];
    let child = support::command().args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    let said = child.wait_with_output().unwrap().stderr;
    assert_eq!(ended, None, "{}", String::from_utf8_lossy(&said));
}

#[test]
fn help_teaches() {
    let root = run(["--help"]).ok();
    for part in [
        "generate",
        "forward",
        "embed",
        "classify",
        "tag",
        "answer",
        "fill-mask",
        "inspect",
        "convert",
        "bench",
        "Exit codes",
        "--format",
    ] {
        assert!(root.contains(part), "{part}");
    }
    let generate = run(["generate", "--help"]).ok();
    for part in [
        "--num-beams",
        "--early-stopping <true|false|never>",
        "--bad-words-ids",
        "\"row\", \"sequence\", \"ids\"",
        "Sampling:",
    ] {
        assert!(generate.contains(part), "{part} in {generate}");
    }
    assert!(run(["--version"]).ok().starts_with("seq2seq "));
}
