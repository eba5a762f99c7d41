//! What cannot be done is said in one line, with the right exit code, and leaves nothing behind.

use crate::support::{self, fixture, model, run, run_with};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn arguments(first: &[&str], name: &str) -> Vec<String> {
    first.iter().map(ToString::to_string).chain(model(name)).collect()
}

#[track_caller]
fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "'{part}' in '{error}'");
    }
}

/// What a program lacks and what a machine lacks: the same line from `devices` and from whoever asks for it.
#[test]
fn devices_say_what_they_lack() {
    let listed = run(["devices", "--json"]).lines();
    assert_eq!(listed[0]["device"], "cpu");
    assert!(listed[0]["is"].as_str().is_some_and(|is| is.contains("threads")), "{}", listed[0]);
    let folder = tempfile::tempdir().unwrap();
    for device in listed.iter().filter(|device| device.get("lacks").is_some()) {
        let (name, lacks) = (device["device"].as_str().unwrap(), device["lacks"].as_str().unwrap());
        let asked = run(["generate", "a", "--device", name]);
        assert!(asked.code != Some(0) && asked.stdout.is_empty(), "{name}: {asked:?}");
        says(&asked.stderr, &[lacks]);
        // A training, too, is not done elsewhere.
        let (rows, output) = (folder.path().join("rows.tsv"), folder.path().join("out"));
        fs::write(&rows, "a\tone\nb\ttwo\n").unwrap();
        let (rows, output) = (rows.to_str().unwrap(), output.to_str().unwrap());
        let train = ["train", "--train", rows, "--family=t5", "--steps=1", "--output", output];
        let by_option = run(train.into_iter().chain(["--device", name]));
        let by_setting = run(train.into_iter().chain(["--set", &format!("device={name}")]));
        for trained in [by_option, by_setting] {
            assert!(trained.code != Some(0) && trained.stdout.is_empty(), "{name}: {trained:?}");
            says(&trained.stderr, &[lacks]);
        }
        assert!(!Path::new(output).exists());
    }
}

#[test]
fn bad_usage() {
    for (args, parts) in [
        (&["generate"][..], &["TEXT", "--input"][..]),
        (&["generate", "a", "--input=-"], &["not both"]),
        (&["generate", "a", "--num-beams=0"], &["num_beams = 0", "at least 1"]),
        (&["generate", "a", "--num-beams=x"], &["--num-beams", "see --help"]),
        (&["generate", "a", "--num-return-sequences=2"], &["num_return_sequences"]),
        (&["generate", "a", "--bad-words-ids=[[5]"], &["--bad-words-ids", "JSON"]),
        (&["generate", "a", "--bad-words-ids=[5]"], &["bad_words_ids"]),
        (&["generate", "a", "--early-stopping=maybe"], &["true, false, never"]),
        (&["generate", "a", "--temperature=0", "--do-sample"], &["temperature"]),
        (&["generate", "--do-sample", "false", "a"], &["--do-sample=false", "see --help"]),
        (&["generate", "a", "--nom-beams=2"], &["--nom-beams", "--num-beams"]),
        (&["generate", "a", "--format=int3"], &["f32, bf16, f16, int8, int4"]),
        (&["generate", "a", "--module-format=int8"], &["PATTERN=FORMAT"]),
        (
            &["generate", "a", "--module-format=decoder.*=int8", "--module-format=*.wo=int8"],
            &["'*.wo=int8'", "decoder.layers.*.ffn.out", "head.language.out"],
        ),
        (&["generate", "a", "--device=tpu"], &["cpu", "cuda:0", "tch:cpu"]),
        (&["generate", "a", "--threads=0"], &["at least 1"]),
        (&["embed", "a"], &["--model"]),
        (
            &["generate", "speak: 7", "--max-new-tokens=18446744073709551615"],
            &["text 1", "more than any memory holds", "fewer new tokens"],
        ),
        (
            &["generate", "a", "--attention=no.html", "--output=./no.html"],
            &["--attention", "one place"],
        ),
        (&["generate", "a", "--attention=-"], &["--attention", "one place"]),
        (&["answer", "--question=a"], &["--context"]),
        (&["tag", "a", "--aggregation=best"], &["none, simple, first, average, max"]),
        (&["translate"], &["translate"]),
    ] {
        says(&run(args).error(2), parts);
    }
}

#[test]
fn without_arguments_there_is_help() {
    let done = run([""; 0]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""));
    says(&done.stderr, &["Usage: seq2seq", "generate"]);
}

#[test]
fn models_that_are_not_there() {
    says(
        &run(["generate", "a", "--model", "/no/such/folder"]).error(2),
        &["/no/such/folder", "no such folder"],
    );
    // It might be the name of a model on the hub, which cannot be reached.
    says(
        &run(["generate", "a", "--model", "no-such-folder"]).error(1),
        &["there is no folder no-such-folder, and", "model no-such-folder"],
    );
    let file = fixture("bert").join("config.json");
    says(
        &run(["inspect", "--model", file.to_str().unwrap()]).error(2),
        &["config.json", "not a folder"],
    );
    let folder = tempfile::tempdir().unwrap();
    says(
        &run(["inspect", "--model", folder.path().to_str().unwrap()]).error(2),
        &["config.json", "no such file"],
    );
}

/// A copy of `name` with one file changed; what the program says of it.
fn damaged(name: &str, file: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    for entry in
        fs::read_dir(fixture(name)).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file())
    {
        let mut bytes = fs::read(&entry).unwrap();
        if entry.ends_with(file) {
            change(&mut bytes);
        }
        fs::write(folder.path().join(entry.file_name().unwrap()), bytes).unwrap();
    }
    run(["embed", "cat", "--model", folder.path().to_str().unwrap()]).error(2)
}

#[test]
fn damaged_models() {
    let name = "sentence_mean";
    let weights = "model.safetensors";
    says(&damaged(name, weights, |b| b.truncate(b.len() / 2)), &[weights]);
    says(
        &damaged(name, weights, |b| b[..8].copy_from_slice(&(1u64 << 60).to_le_bytes())),
        &[weights],
    );
    says(&damaged(name, weights, |b| b.clear()), &[weights]);
    says(&damaged(name, weights, |b| b[2] = 0xFF), &[weights]);
    let nan = |b: &mut Vec<u8>| {
        let end = b.len();
        b[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    says(&damaged(name, weights, nan), &["NaN"]);
    let config = |change: fn(&mut Value)| {
        move |b: &mut Vec<u8>| {
            let mut value: Value = serde_json::from_slice(b).unwrap();
            change(&mut value);
            *b = value.to_string().into_bytes();
        }
    };
    says(
        &damaged(name, "config.json", config(|c| c["model_type"] = json!("mamba"))),
        &["mamba", "bert"],
    );
    says(
        &damaged(name, "config.json", config(|c| c["vocab_size"] = json!(96))),
        &["word_embeddings", "[97", "[96"],
    );
    says(
        &damaged(name, "config.json", config(|c| c["hidden_size"] = json!("wide"))),
        &["config.json", "hidden_size"],
    );
    says(&damaged(name, "config.json", |b| b.truncate(30)), &["config.json"]);
    says(&damaged(name, "tokenizer.json", |b| b.truncate(99)), &["tokenizer.json"]);
    says(&damaged(name, "modules.json", |b| b.clear()), &["modules.json"]);
}

#[test]
fn rows_are_named_by_their_lines() {
    // No room for a new token after the second prompt.
    let input = b"{\"input_ids\": [5]}\n\n{\"input_ids\": [5, 6, 7]}\n";
    let error = run_with(arguments(&["generate", "--input=-", "--max-length=3"], "gpt2"), input)
        .error_behind(1, 2);
    says(&error, &["standard input: line 3: the prompt has 3 ids", "max_new_tokens"]);
    let error =
        run_with(arguments(&["generate", "--input=-", "--max-length=1"], "gpt2"), input).error(2);
    says(&error, &["settings", "max_new_tokens"]);
}

#[test]
fn input_that_cannot_be_used() {
    let generate = |line: &[u8]| run_with(arguments(&["generate", "--input=-"], "t5_v1_0"), line);
    let second = b"{\"input_ids\": [5]}\n{\"input_ids\": [5, 99999]}";
    says(&generate(second).error_behind(1, 2), &["line 2", "99999", "position 1", "vocabulary"]);
    for (line, parts) in [
        (&b"{\"input_ids\": []}"[..], &["standard input: line 1", "no tokens"][..]),
        (b"{\"input_ids\": [-1]}", &["line 1", "-1"]),
        (b"{\"input_ids\": [5], \"text\": \"a\"}", &["both"]),
        (b"{}", &["neither"]),
        (b"{\"input_ids\": [5], \"decoder_input_ids\": [99999]}", &["line 1", "99999"]),
        (b"[1, 2]", &["line 1", "an array", "must hold an object"]),
        (b"[\"speak: 7\", null, null]", &["line 1", "an array"]),
        (b"\"speak: 7\"", &["line 1", "a text", "must hold an object"]),
        (b"{\"text\": \"\xE9\"}", &["line 1", "not UTF-8"]),
    ] {
        says(&generate(line).error(2), parts);
    }
    let no_tokenizer =
        run_with(arguments(&["generate", "--input=-"], "t5_v1_1"), b"{\"text\": \"a\"}").error(2);
    says(&no_tokenizer, &["tokenizer.json", "input_ids"]);
    let long = json!({"input_ids": vec![5; 5000]}).to_string();
    says(
        &run_with(arguments(&["generate", "--input=-"], "gpt2"), long.as_bytes()).error(2),
        &["line 1", "5000"],
    );
    says(
        &run(arguments(&["generate", "a"], "bert_masked_lm")).error(2),
        &["bert", "cannot generate"],
    );
    says(&run(["generate", "--input", "/no/such/file"]).error(2), &["/no/such/file"]);
    says(&run(["generate", "--input", "/"]).error(2), &["folder"]);
}

#[test]
fn texts_that_a_task_cannot_use() {
    says(
        &run(arguments(&["fill-mask", "no mask"], "bert_masked_lm")).error(2),
        &["text 1", "[MASK]"],
    );
    says(&run(arguments(&["fill-mask", "cat"], "gpt2_text")).error(2), &["mask token"]);
    let long = "cat ".repeat(500);
    says(
        &run(arguments(&["classify", "cat", &long], "bert_sequence_classification"))
            .error_behind(1, 2),
        &["text 2", "502 tokens", "80"],
    );
    assert_eq!(
        run(arguments(&["classify", "--truncate", &long], "bert_sequence_classification"))
            .lines()
            .len(),
        1
    );
    says(&run(arguments(&["tag", "cat"], "bert_masked_lm")).error(2), &["labels"]);
    says(&run(arguments(&["embed", "cat"], "bert_masked_lm")).error(2), &["last_hidden_state"]);
    let question = "cat ".repeat(400);
    says(
        &run(arguments(&["answer", "-q", &question, "-c", "cat"], "bert_question_answering"))
            .error(2),
        &["no room"],
    );
    // An empty text is what the tokenizer makes of it.
    assert_eq!(run(arguments(&["embed", ""], "sentence_mean")).lines().len(), 1);
}

#[test]
fn tensors_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.safetensors");
    let output = folder.path().join("out.safetensors");
    let forward = |bytes: &[u8]| {
        fs::write(&input, bytes).unwrap();
        let args =
            ["forward", "--input", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
        run(arguments(&args, "bert")).error(2)
    };
    let ids = |shape: [usize; 2], ids: &[i64]| {
        let bytes: Vec<u8> = ids.iter().flat_map(|i| i.to_le_bytes()).collect();
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::I64, shape.to_vec(), &bytes)
                .unwrap();
        safetensors::serialize([("input_ids", view)], None).unwrap()
    };
    says(&forward(b"not safetensors"), &["in.safetensors"]);
    says(&forward(&ids([1, 2], &[5, 99999])), &["in.safetensors", "99999", "vocabulary"]);
    says(&forward(&ids([1, 0], &[])), &["in.safetensors", "empty"]);
    says(&forward(&ids([0, 3], &[])), &["in.safetensors", "no sequences"]);
    says(&forward(&ids([1, 200], &[5; 200])), &["200 tokens"]);
    assert!(!output.exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn output_that_cannot_be_written() {
    for path in ["/no/such/folder/out.jsonl", "/"] {
        let error = run(["generate", "speak: 7", "--output", path]).error(1);
        says(&error, &[path]);
        assert!(!error.contains(".seq2seq-"), "{error}");
    }
    let tokenizer = ["tokenizer", "train", "--kind=bytes", "--output", "/no/such/folder/out"];
    says(&run(tokenizer).error(1), &["/no/such/folder/out"]);
    if Path::new("/dev/full").exists() {
        // Where nobody can be told, the exit code says it.
        for (args, code) in [
            (&["generate"][..], 2),
            (&["generate", "a", "--output=/"], 1),
            (&["generate", "-v", "speak: 7"], 0),
        ] {
            let full = fs::File::options().write(true).open("/dev/full").unwrap();
            let done = support::command().args(args).stderr(full).output().unwrap();
            assert_eq!(done.status.code(), Some(code), "{args:?}");
        }
        says(
            &run(["generate", "speak: 7", "--output", "/dev/full"]).error(1),
            &["/dev/full", "space"],
        );
    }
}

#[test]
fn logs_only_where_asked_for() {
    let done = run(["generate", "-v", "speak: 7"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "seven\n"));
    assert!(done.stderr.contains("INFO") && done.stderr.contains("loaded"), "{}", done.stderr);
    assert_eq!(run(["generate", "speak: 7"]).stderr, "");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_instruction_set_can_be_forced() {
    let forced = |isa: &str| {
        support::command()
            .env("SEQ2SEQ_CPU_ISA", isa)
            .args(["generate", "speak: 7"])
            .output()
            .unwrap()
    };
    assert_eq!(forced("scalar").stdout, b"seven\n");
    let refused = forced("neon");
    assert_eq!(refused.status.code(), Some(2));
    says(std::str::from_utf8(&refused.stderr).unwrap(), &["neon", "scalar"]);
}
