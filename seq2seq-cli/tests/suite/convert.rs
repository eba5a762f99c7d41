//! `seq2seq convert`, and the commands on what it writes.

use crate::support::{Done, fixture, model, run};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn convert(name: Option<&str>, format: &str, output: &Path) -> Done {
    let output = output.to_str().unwrap();
    let args = ["convert", "--format", format, "--output", output].map(String::from);
    run(args.into_iter().chain(name.map(model).into_iter().flatten()))
}

/// What a folder holds, hidden files included.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|n| n.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_default_model_speaks_as_before() {
    let folder = tempfile::tempdir().unwrap();
    for format in ["bf16", "f16", "int8", "int4"] {
        let output = folder.path().join(format);
        let said = convert(None, format, &output).ok();
        assert!(said.contains(format) && said.contains("tokenizer.json"), "{said}");
        assert_eq!(
            names(&output),
            [
                "config.json",
                "generation_config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json"
            ]
        );
        let output = output.to_str().unwrap();
        let texts = ["speak: $1,250.75", "write: twenty one", "french: 71"];
        let with = |more: &[&str]| run([&["generate", "--json"], &texts[..], more].concat()).ok();
        let expected = with(&["--format", format]);
        assert!(expected.contains("one thousand two hundred fifty dollars"), "{expected}");
        assert_eq!(with(&["--model", output]), expected);
        assert_eq!(with(&["--model", output, "--format", format]), expected);
    }
    assert_eq!(names(folder.path()), ["bf16", "f16", "int4", "int8"]);
}

#[test]
fn embeddings_and_tags_stay_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    for (name, command) in [
        ("sentence_mean", "embed"),
        ("bert_token_classification", "tag"),
        ("bert_sequence_classification", "classify"),
    ] {
        let output = folder.path().join(name);
        convert(Some(name), "int8", &output).ok();
        let expected =
            run([&[command, "a short text", "--format=int8"].map(String::from)[..], &model(name)]
                .concat());
        let got = run([command, "a short text", "--model", output.to_str().unwrap()]);
        assert_eq!(got.ok(), expected.ok(), "{name}");
    }
    assert!(folder.path().join("sentence_mean/1_Pooling/config.json").is_file());
}

#[test]
fn inspect_says_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    convert(Some("gpt2"), "int8", &output).ok();
    let path = output.to_str().unwrap();
    let text = run(["inspect", "--model", path]).ok();
    assert!(text.contains("stored in int8") && !text.contains("bf16"), "{text}");
    let mixed = folder.path().join("mixed").display().to_string();
    let source = fixture("gpt2").display().to_string();
    let exception = ["--module-format", "*.ffn.out=int8"];
    run([&["convert", "--model", &source, "--format=int4", "--output", &mixed], &exception[..]]
        .concat())
    .ok();
    let text = run(["inspect", "--model", &mixed]).ok();
    assert!(text.contains("stored in int4") && text.contains("but for *.ffn.out=int8"), "{text}");
    let facts = |args: &[&str]| -> Value { serde_json::from_str(&run(args).ok()).unwrap() };
    let found = facts(&["inspect", "--json", "--model", path]);
    let original = fixture("gpt2");
    let before = facts(&["inspect", "--json", "--model", original.to_str().unwrap()]);
    assert_eq!((&found["stored"], &before["stored"]), (&json!("int8"), &Value::Null));
    assert_eq!(found["bytes"], json!({"int8": before["bytes"]["int8"]}));
    for same in ["parameters", "family", "unused_tensors", "problems"] {
        assert_eq!(found[same], before[same], "{same}");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    convert(Some("t5_v1_0"), "int8", &output).ok();
    let path = output.to_str().unwrap();
    let says = |done: Done, parts: &[&str]| {
        let message = done.error(2);
        assert!(parts.iter().all(|p| message.contains(p)), "{message}");
    };
    for format in ["f32", "bf16"] {
        let done = run(["generate", "a", "--model", path, "--format", format]);
        says(done, &[path, "stored in int8", format, "converted from"]);
    }
    let again = folder.path().join("again").display().to_string();
    let done = run(["convert", "--model", path, "--format=int8", "--output", &again]);
    says(done, &["stored in int8"]);
    let original = fixture("t5_v1_0").display().to_string();
    let run_to = |output: &str, more: &[&str]| {
        run([&["convert", "--model", &original, "--output", output][..], more].concat())
    };
    says(run_to(&again, &[]), &["--format is missing"]);
    says(run_to(&again, &["--format=f32"]), &["storing weights in f32", "bf16, f16, int8, int4"]);
    let unused = ["--format=int4", "--module-format=*.wo=int8"];
    says(run_to(&again, &unused), &["*.wo=int8", "decoder.layers.*.ffn.out"]);
    says(run_to(path, &["--format=bf16"]), &[path, "holds something"]);
    says(
        run_to(&format!("{path}/config.json"), &["--format=bf16"]),
        &["config.json", "not a folder"],
    );
    let unwritten = run_to("/no/such/parent/out", &["--format=bf16"]).error(1);
    assert!(unwritten.starts_with("/no/such/parent/out: "), "{unwritten}");
    let compared = folder.path().join("in.jsonl");
    fs::write(&compared, "{\"input_ids\": [5]}\n").unwrap();
    let done = run(["inspect", "--model", path, "--compare-formats", compared.to_str().unwrap()]);
    says(done, &["stored in int8", "f32"]);
    // Nothing half-written stays.
    assert_eq!(names(folder.path()), ["in.jsonl", "out"]);
}
