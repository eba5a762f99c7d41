//! `seq2seq generate`.

use crate::support::{self, close, fixture_json, json_lines, model, run, run_with};
use serde_json::{Value, json};

/// Settings as options: `num_beams: 4` as `--num-beams=4`.
fn options(kwargs: &Value) -> Vec<String> {
    let option = |(name, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), String::from);
        format!("--{}={value}", name.replace('_', "-"))
    };
    kwargs.as_object().unwrap().iter().map(option).collect()
}

fn jsonl(lines: impl IntoIterator<Item = Value>) -> Vec<u8> {
    lines.into_iter().flat_map(|l| format!("{l}\n").into_bytes()).collect()
}

#[test]
fn every_setting_is_that_of_transformers() {
    for name in ["t5_v1_0", "gpt2"] {
        for case in fixture_json(name, "generate.json")["cases"].as_array().unwrap() {
            let input = jsonl(
                case["inputs"].as_array().unwrap().iter().map(|ids| json!({"input_ids": ids})),
            );
            let args = [
                &["generate".into(), "--input=-".into()],
                &model(name)[..],
                &options(&case["kwargs"]),
            ]
            .concat();
            let lines = run_with(&args, &input).lines();
            let ids: Vec<_> = lines.iter().map(|l| l["ids"].clone()).collect();
            assert_eq!(json!(ids), case["sequences"], "{name} {}", case["name"]);
            for (line, score) in lines.iter().zip(case["scores"].as_array().into_iter().flatten()) {
                assert!(
                    close(&line["score"], score.as_f64().unwrap()),
                    "{name} {}: {line}, not {score}",
                    case["name"]
                );
            }
        }
    }
}

#[test]
fn a_dash_is_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let at = |args: &[&str]| {
        let done = support::command().args(args).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        json_lines(&String::from_utf8(done.stdout).unwrap())
    };
    let lines = at(&["generate", "speak: 7", "--output", "-"]);
    assert_eq!((lines.len(), &lines[0]["text"]), (1, &json!("seven")));
    let model = support::fixture("sentence_mean");
    let vectors = at(&["embed", "a cat", "--output=-", "--model", model.to_str().unwrap()]);
    assert_eq!(vectors[0]["row"], 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn texts_are_those_of_transformers() {
    for name in ["t5_v1_0", "gpt2_text", "llama", "marian_shared"] {
        for case in fixture_json(name, "generate_text.json")["cases"].as_array().unwrap() {
            let texts = case["texts"].as_array().unwrap();
            let args = [
                &["generate".into(), "--input=-".into()],
                &model(name)[..],
                &options(&case["kwargs"]),
            ]
            .concat();
            let lines =
                run_with(&args, &jsonl(texts.iter().map(|text| json!({"text": text})))).lines();
            let of =
                |field: &str| json!(lines.iter().map(|l| l[field].clone()).collect::<Vec<_>>());
            assert_eq!(of("ids"), case["sequences"], "{name} {}", case["name"]);
            assert_eq!(of("text"), case["decoded"], "{name} {}", case["name"]);
            // The streamed text is the same.
            let greedy = case["kwargs"].get("num_beams").is_none();
            if let (true, Some(text)) = (greedy, texts[0].as_str()) {
                let args = [
                    &["generate".into(), text.into()],
                    &model(name)[..],
                    &options(&case["kwargs"]),
                ]
                .concat();
                assert_eq!(
                    run(&args).ok(),
                    format!("{}\n", case["decoded"][0].as_str().unwrap()),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn the_model_in_the_program_writes_words() {
    let spoken = run(["generate", "speak: $1,250.75"]).ok();
    assert_eq!(spoken, "one thousand two hundred fifty dollars and seventy five cents\n");
    let several = run(["generate", "speak: 7", "write: seventy one", "speak: $1,250.75"]).ok();
    assert_eq!(several, format!("seven\n71\n{spoken}"));
    let line = &run(["generate", "--json", "speak: 7"]).lines()[0];
    assert_eq!(
        (&line["row"], &line["sequence"], &line["text"]),
        (&json!(0), &json!(0), &json!("seven"))
    );
    let keys: Vec<_> =
        run(["generate", "--json", "speak: 7"]).ok()[1..].split(',').map(String::from).collect();
    assert!(keys[0].starts_with("\"row\"") && keys[1].starts_with("\"sequence\""), "{keys:?}");
}

#[test]
fn what_comes_before_a_bad_row_is_written() {
    let long = vec![5; 300];
    for bad in [json!({"input_ids": long}), json!({"input_ids": "no ids"}), json!(["no row"])] {
        let input = jsonl([json!({"input_ids": [5, 6]}), json!({"input_ids": [7]}), bad]);
        let done = run_with(
            [&["generate".into(), "--input=-".into()], &model("bart_base")[..]].concat(),
            &input,
        );
        let rows: Vec<_> = json_lines(&done.stdout).iter().map(|l| l["row"].clone()).collect();
        assert_eq!(json!(rows), json!([0, 1]), "{done:?}");
        assert!(done.error_behind(2, 2).contains("standard input: line 3"));
    }
}

#[test]
fn warnings_are_told_unasked() {
    let both = run(["generate", "--max-length", "3", "--max-new-tokens", "9", "speak: 7"]);
    assert_eq!(both.stdout, "seven\n");
    assert!(both.stderr.contains("WARN options: 'max_length' is not used"), "{}", both.stderr);
    let cut = run(["generate", "--max-length", "3", "speak: $1,250.75"]);
    assert_eq!(cut.ok(), "one thousand\n");
}

/// Rows of many lengths.
fn rows(count: usize) -> Vec<u8> {
    let row = |i: usize| {
        let ids: Vec<usize> = (0..1 + i * 7 % 23).map(|j| 2 + (i * 31 + j * 17) % 58).collect();
        json!({"input_ids": ids})
    };
    jsonl((0..count).map(row))
}

#[test]
fn batches_and_threads_change_nothing() {
    let run = |more: &[&str]| {
        let fixed = [
            "generate",
            "--input=-",
            "--num-beams=2",
            "--max-new-tokens=6",
            "--num-return-sequences=2",
        ];
        run_with(
            fixed
                .iter()
                .map(ToString::to_string)
                .chain(model("t5_v1_0"))
                .chain(more.iter().map(ToString::to_string)),
            &rows(150),
        )
        .ok()
    };
    let expected = run(&[]);
    let lines = json_lines(&expected);
    assert_eq!(lines.len(), 300);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!((&line["row"], &line["sequence"]), (&json!(i / 2), &json!(i % 2)));
        assert!(line["text"].is_string());
    }
    assert_eq!(run(&["--batch-tokens=1", "--threads=1"]), expected);
    assert_eq!(run(&["--batch-tokens=77", "--threads=2"]), expected);
}

#[test]
fn sampling_hangs_on_seed_and_row_alone() {
    let sample = |more: &[&str]| {
        let fixed = [
            "generate",
            "--input=-",
            "--do-sample",
            "--num-return-sequences=2",
            "--max-new-tokens=5",
        ];
        run_with(
            fixed
                .iter()
                .map(ToString::to_string)
                .chain(model("gpt2"))
                .chain(more.iter().map(ToString::to_string)),
            &rows(20),
        )
        .ok()
    };
    let first = sample(&["--seed=5"]);
    assert_eq!(sample(&["--seed=5", "--batch-tokens=1"]), first);
    assert_ne!(sample(&["--seed=6"]), first);
}

#[test]
fn files_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    std::fs::write(
        &input,
        "\u{FEFF}{\"text\": \"speak: 7\"}\r\n\n{\"text\": \"speak: 8\", \"more\": [1]}",
    )
    .unwrap();
    let args =
        ["generate", "--input", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
    assert_eq!(run(args).ok(), "");
    let lines = json_lines(&std::fs::read_to_string(&output).unwrap());
    assert_eq!(
        lines.iter().map(|l| l["text"].as_str().unwrap()).collect::<Vec<_>>(),
        ["seven", "eight"]
    );
    // A failure leaves what was there.
    std::fs::write(&input, "{\"text\": \"speak: 7\"}\n{\"text\": 8}\n").unwrap();
    let error = run(args).error(2);
    assert!(error.contains("in.jsonl: line 2: column"), "{error}");
    assert_eq!(json_lines(&std::fs::read_to_string(&output).unwrap()), lines);
    std::fs::write(&input, "").unwrap();
    run(args).ok();
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn decoders_may_be_given_a_beginning() {
    let case = &fixture_json("t5_v1_0", "generate.json")["cases"][0];
    let whole = case["sequences"][0].as_array().unwrap();
    let line = json!({"input_ids": case["inputs"][0], "decoder_input_ids": whole[..3]});
    let args = [
        &["generate".into(), "--input=-".into(), format!("--max-length={}", whole.len())],
        &model("t5_v1_0")[..],
    ]
    .concat();
    assert_eq!(run_with(&args, &jsonl([line])).lines()[0]["ids"], json!(whole));
}

#[test]
fn other_formats_write_too() {
    for format in ["bf16", "f16", "int8", "int4"] {
        assert_eq!(run(["generate", "--format", format, "speak: 7"]).ok(), "seven\n", "{format}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_failure() {
    use std::process::Stdio;
    let mut child = support::command()
        .args(["generate", "--input=-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let lines = jsonl((0..50).map(|i| json!({"text": format!("speak: {i}")})));
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &lines).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}
