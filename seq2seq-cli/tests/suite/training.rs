//! `seq2seq train`, `seq2seq tokenizer train` and `seq2seq score`.

use crate::support::{self, command, fixture, fixture_json, run, run_with};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

fn path(path: &Path) -> String {
    path.to_str().unwrap().into()
}

#[test]
fn tokenizers_are_trained_alike_in_every_process() {
    let folder = tempfile::tempdir().unwrap();
    let rows = path(&fixture("tokenizers/rows.tsv"));
    for (kind, more) in
        [("bytes", &[][..]), ("bpe", &["--vocab-size=400"]), ("unigram", &["--vocab-size=420"])]
    {
        let train = |name: &str| {
            let output = folder.path().join(format!("{kind}_{name}"));
            let args = ["tokenizer", "train", "--kind", kind, "--output"].map(String::from);
            let args = args.into_iter().chain([path(&output), "--input".into(), rows.clone()]);
            let said = run(args.chain(more.iter().map(|&s| s.into()))).ok();
            assert!(said.contains("tokens, tokenizer.json, tokenizer_config.json"), "{said}");
            ["tokenizer.json", "tokenizer_config.json"]
                .map(|file| fs::read_to_string(output.join(file)).unwrap())
        };
        assert_eq!(train("first"), train("second"), "{kind}");
    }
}

#[test]
fn lines_of_a_txt_file_are_texts() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines.txt");
    fs::write(&lines, "the cat sat\n\nthe dog ran\n").unwrap();
    let lines = path(&lines);
    let output = |name: &str| path(&folder.path().join(name));
    let (bpe, gpt2, t5) = (output("bpe"), output("gpt2"), output("t5"));
    let args = ["tokenizer", "train", "--kind=bpe", "--vocab-size=270", "--input", &lines];
    run(args.into_iter().chain(["--output", &bpe])).ok();
    let args = ["train", "--train", &lines, "--steps=1", "--set", "architecture.n_layer=1"];
    run(args.into_iter().chain(["--family=gpt2", "--output", &gpt2])).ok();
    let args = ["train", "--train", &lines, "--steps=1", "--family=t5", "--output", &t5];
    let error = run(args).error(2);
    assert!(error.contains("these rows are texts"), "{error}");
}

#[test]
fn tokenizers_that_cannot_be_made_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.tsv");
    fs::write(&rows, "a\tb\n\nc\n").unwrap();
    let (rows, output) = (path(&rows), path(&folder.path().join("out")));
    let error = |args: &[&str]| {
        let base = ["tokenizer", "train", "--output", &output];
        run(base.iter().chain(args)).error(2)
    };
    assert!(error(&["--kind=bpe", "--input", &rows]).contains("rows.tsv: line 3: there is no tab"));
    assert!(error(&["--kind=bpe"]).contains("give rows"));
    assert!(error(&["--kind=words"]).contains("unigram"));
    assert!(error(&["--kind=bytes", "--vocab-size=9"]).contains("259"));
    // More than there is memory for.
    let good = path(&fixture("tokenizers/rows.tsv"));
    for kind in ["bpe", "unigram"] {
        let kind = format!("--kind={kind}");
        let error = error(&[&kind, "--input", &good, "--vocab-size=1000000000"]);
        assert!(error.contains("the vocabulary would be 1000000000 tokens"), "{error}");
    }
    let error = error(&["--kind=bytes", "--extra-ids=1000000000000"]);
    assert!(error.contains("the sentinels would be 1000000000000 tokens"), "{error}");
    assert!(!Path::new(&output).exists());
}

#[test]
fn scores_of_files_are_those_of_the_fixture() {
    let folder = tempfile::tempdir().unwrap();
    let corpora = fixture_json("metrics", "corpora.json");
    let corpus = corpora.as_array().unwrap().iter().find(|c| c["name"] == "one_reference").unwrap();
    let texts = |of: &Value| -> Vec<String> {
        of.as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect()
    };
    let hypotheses = texts(&corpus["hypotheses"]);
    let references: Vec<String> =
        corpus["references"].as_array().unwrap().iter().map(|r| texts(r).remove(0)).collect();
    let write = |name: &str, lines: Vec<String>| {
        let file = folder.path().join(name);
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        path(&file)
    };
    // As lines, as `generate` writes them with two sequences a row, and as the rows of a data set.
    let lines = write("hypotheses", hypotheses.clone());
    let generated = hypotheses.iter().enumerate().flat_map(|(row, text)| {
        let of = |sequence: usize, text: &str| {
            json!({"row": row, "sequence": sequence, "text": text}).to_string()
        };
        [of(0, text), of(1, "something else")]
    });
    let generated = write("generated.jsonl", generated.collect());
    let rows = write("rows.tsv", references.iter().map(|r| format!("source\t{r}")).collect());
    let data = references.iter().map(|r| json!({"source": "s", "target": r}).to_string()).collect();
    let data = write("rows.jsonl", data);
    let plain = write("references", references);
    for (hypotheses, references) in [(&lines, &plain), (&generated, &rows), (&lines, &data)] {
        let args = ["score", "--json", "--hypotheses", hypotheses, "--references", references];
        let scores = run(args).lines().remove(0);
        assert_eq!(scores["rows"], 30);
        for (name, expected) in corpus["scores"].as_object().unwrap() {
            assert!(support::close(&scores[name], expected.as_f64().unwrap()), "{name} {scores}");
        }
    }
    let args = ["score", "--hypotheses", &lines, "--references", &plain, "--metrics=chrf++,bleu"];
    let table = run(args).ok();
    let bleu = corpus["scores"]["bleu"].as_f64().unwrap();
    assert_eq!(table.lines().nth(1).unwrap(), format!("bleu        {bleu:>7.2}"));
    assert!(table.starts_with("chrf++ ") && table.lines().count() == 2, "{table}");
}

#[test]
fn several_references_and_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        path(&file)
    };
    let (a, b, short) = (write("a", "x\ny\n"), write("b", "z\r\ny"), write("short", "x\n"));
    let hypotheses = write("h", "z\ny\n");
    let score = |more: &[&str]| run(["score", "--hypotheses", &hypotheses].iter().chain(more));
    let exact = ["--metrics=exact_match", "--json"];
    let both = score(&[&["--references", &a, &b][..], &exact].concat()).lines().remove(0);
    assert_eq!(both, json!({"rows": 2, "exact_match": 100.0}));
    let one = score(&[&["--references", &a][..], &exact].concat()).lines().remove(0);
    assert_eq!(one["exact_match"], 50.0);
    let error = score(&["--references", &a, &short]).error(2);
    assert!(error.contains("short ends after 1 texts"), "{error}");
    let error = score(&["--references", &write("no.tsv", "x\n")]).error(2);
    assert!(error.contains("no.tsv: line 1: there is no tab"), "{error}");
    let error = score(&["--references", &write("no.jsonl", "{\"text\": \"a\"}\n{}")]).error(2);
    assert!(error.contains("no.jsonl: line 2: there is neither"), "{error}");
    let error = score(&["--references", &a, "--metrics=meteor"]).error(2);
    assert!(error.contains("meteor") && error.contains("rougeL"), "{error}");
    let mark = write("mark", "\u{FEFF}z\r\ny\n");
    let marked = run(["score", "--hypotheses", &mark, "--references", &b].iter().chain(&exact));
    assert_eq!(marked.lines()[0]["exact_match"], 100.0);
    let args = ["score", "--hypotheses", "-", "--references", &b];
    let generated = b"{\"text\": \"z\"}\n\n{\"text\": \"y\"}\n";
    let piped = run_with(args.iter().chain(&exact), generated);
    assert_eq!(piped.lines()[0], json!({"rows": 2, "exact_match": 100.0}));
    let error = run_with(args, b"z\ny\n").error(2);
    assert!(error.contains("standard input: line 1: column 1"), "{error}");
    let error = run(["score", "--hypotheses", "-", "--references", "-"]).error(2);
    assert!(error.contains("standard input (-)"), "{error}");
    let empty = write("empty", "");
    let error = run(["score", "--hypotheses", &empty, "--references", &empty]).error(2);
    assert!(error.contains("no hypotheses"), "{error}");
}

/// Rows, and a config.toml of a small training on them.
fn training(folder: &Path, steps: u32) -> String {
    let rows: String = (0..40).map(|i| format!("a{i}\t{i}a\n")).collect();
    fs::write(folder.join("rows.tsv"), rows).unwrap();
    let config = format!(
        "train = {rows:?}\nvalid = {rows:?}\nfamily = 't5'\nsteps = {steps}\nsave_every = 1\nthreads = 1\n\
         architecture = {{ d_model = 16, d_kv = 8, d_ff = 16, num_heads = 2, num_layers = 1 }}\n\
         data = {{ batch_tokens = 100 }}\nevaluation = {{ generate = 2, every = 20 }}\n",
        rows = path(&folder.join("rows.tsv"))
    );
    let file = folder.join("config.toml");
    fs::write(&file, config).unwrap();
    path(&file)
}

#[test]
fn a_model_is_trained_and_generates() {
    let folder = tempfile::tempdir().unwrap();
    let config = training(folder.path(), 30);
    let output = path(&folder.path().join("out"));
    let said = run(["train", &config, "--output", &output, "--set", "log_every=5"]).ok();
    assert!(said.contains("evaluated at step 20: loss") && said.contains("30 steps in"), "{said}");
    assert!(said.contains("best after step"), "{said}");
    let trained = Path::new(&output).join("training");
    let svg = fs::read_to_string(trained.join("curves.svg")).unwrap();
    assert!(svg.contains("loss, evaluated") && svg.contains("exact_match"));
    let last = said.lines().last().unwrap();
    assert_eq!(last, format!("seq2seq generate --model {output} TEXT"));
    run(["generate", "--model", &output, "a1"]).ok();
    let again = run(["train", &config, "--output", &output]).error(2);
    assert!(again.contains("--resume"), "{again}");
}

#[test]
fn a_training_that_is_killed_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let config = training(folder.path(), 200);
    let whole = folder.path().join("whole");
    run(["train", &config, "--output", &path(&whole)]).ok();
    let killed = folder.path().join("killed");
    let args = ["train", &config, "--resume", "--output", &path(&killed)].map(String::from);
    let mut kills = 0;
    for wait in [30, 60, 90, 120] {
        let mut child = command().args(&args).stdout(Stdio::null()).spawn().unwrap();
        let log = killed.join("training/checkpoint.safetensors");
        let (begin, before) = (Instant::now(), modified(&log));
        // Some time after it has got further.
        while modified(&log) == before && begin.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        kills += usize::from(!child.wait().unwrap().success());
    }
    assert!(kills > 0, "it was never killed");
    run(&args).ok();
    for name in ["model.safetensors", "config.json"] {
        assert!(
            fs::read(whole.join(name)).unwrap() == fs::read(killed.join(name)).unwrap(),
            "{name}"
        );
    }
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&whole), names(&killed));
}

/// The first signal leaves a checkpoint, from which it goes on to the bits of a training that was not stopped.
#[cfg(unix)]
#[test]
fn a_training_that_is_interrupted_saves_where_it_stands() {
    use std::{io::Read, os::unix::process::ExitStatusExt, process::Command};
    let folder = tempfile::tempdir().unwrap();
    let config = training(folder.path(), 400);
    let args = |output: &Path| {
        let more = ["--set", "save_every=1000", "--set", "evaluation.every=400"].map(String::from);
        let output = ["train".into(), config.clone(), "--output".into(), path(output)];
        output.into_iter().chain(more).collect::<Vec<_>>()
    };
    let whole = folder.path().join("whole");
    run(args(&whole)).ok();
    for (name, signal) in [("-INT", 2), ("-TERM", 15)] {
        let output = folder.path().join(name);
        let mut child = command().args(args(&output)).stdout(Stdio::piped()).spawn().unwrap();
        let (log, begin) = (output.join("training/metrics.jsonl"), Instant::now());
        while fs::read_to_string(&log).unwrap_or_default().is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(60), "it takes no steps");
            std::thread::sleep(Duration::from_millis(1));
        }
        let kill = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        // A shell sees 128 and the signal.
        assert_eq!(child.wait().unwrap().signal(), Some(signal), "{said}");
        assert!(said.contains("ended by a signal") && said.contains("--resume goes on"), "{said}");
        assert!(!said.contains("400 steps in"), "{said}");
        assert!(output.join("training/checkpoint.safetensors").exists());
        run(args(&output).iter().map(String::as_str).chain(["--resume"])).ok();
        let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
        assert!(weights(&output) == weights(&whole));
    }
}

/// The second signal waits for no step.
#[cfg(unix)]
#[test]
fn a_second_signal_ends_an_interrupted_training_at_once() {
    use std::{
        io::{BufRead, BufReader},
        os::unix::process::ExitStatusExt,
        process::Command,
    };
    let folder = tempfile::tempdir().unwrap();
    let (config, output) = (training(folder.path(), 10), folder.path().join("out"));
    // A step of many minutes.
    let mut child = command()
        .args(["train", &config, "--output", &path(&output)])
        .args(["--set", "optimiser.accumulate=1000000"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (log, begin) = (output.join("training/metrics.jsonl"), Instant::now());
    while !log.exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    // It listens from then on.
    std::thread::sleep(Duration::from_millis(500));
    let interrupt = |child: &std::process::Child| {
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap()
    };
    assert!(interrupt(&child).success());
    let mut told = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains("ending after this step"), "{told}");
    assert_eq!(child.try_wait().unwrap(), None);
    assert!(interrupt(&child).success());
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    assert!(!output.join("training/checkpoint.safetensors").exists());
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

#[test]
fn a_row_that_no_batch_has_room_for_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let config = training(folder.path(), 40);
    let (rows, long) = (folder.path().join("rows.tsv"), folder.path().join("long.tsv"));
    let text = fs::read_to_string(&rows).unwrap() + &"a".repeat(3000) + "\tb\n";
    fs::write(&long, text).unwrap();
    let (rows, long) = (path(&rows), path(&long));
    let train = |name: &str, train: &str, valid: &str, overlong: &str| {
        let output = path(&folder.path().join(name));
        let overlong = format!("data.overlong={overlong}");
        let args = ["train", &config, "--output", &output, "--train", train, "--valid", valid];
        run(args.into_iter().chain(["--set", "data.window=8", "--set", &overlong]))
    };
    for (name, learned, measured) in [("train", &long, &rows), ("valid", &rows, &long)] {
        let done = train(name, learned, measured, "truncate");
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.contains("40 steps in"), "{done:?}");
        let told = "long.tsv: line 41: has 3003 tokens, more than the 100 of a batch";
        assert_eq!(done.stderr.matches(told).count(), 1, "{done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    }
    let refused = train("refused", &long, &rows, "refuse");
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("line 41: has 3003 tokens"), "{refused:?}");
}

#[test]
fn the_last_line_says_how_the_model_is_used() {
    let folder = tempfile::tempdir().unwrap();
    for (name, objective, rows, input) in [
        ("bert_masked_lm", "masked_lm", r#"{"text": "the cat sat"}"#, &["the [MASK] sat"][..]),
        (
            "bert_sequence_classification",
            "classify",
            r#"{"source": "a cat", "target": "fine"}"#,
            &["a cat"],
        ),
        (
            "bert_token_classification",
            "tag",
            r#"{"tokens": ["Anna"], "tags": ["B-PER"]}"#,
            &["Anna"],
        ),
        (
            "bert_question_answering",
            "answer",
            r#"{"question": "who ran", "context": "the dog ran", "answer": "the dog", "start": 0}"#,
            &["--question", "who ran", "--context", "the dog ran"],
        ),
    ] {
        let (file, output) = (folder.path().join("rows.jsonl"), path(&folder.path().join(name)));
        fs::write(&file, rows).unwrap();
        let set = format!("data.objective.kind={objective}");
        let model = path(&fixture(name));
        let args = ["train", "--steps=1", "--set", &set, "--model", &model, "--output", &output];
        let said = run(args.into_iter().chain(["--train", &path(&file)])).ok();
        let last = said.lines().last().unwrap();
        let words: Vec<&str> = last.split(' ').collect();
        assert_eq!((words[0], &words[2..4]), ("seq2seq", &["--model", &output[..]][..]), "{last}");
        assert_eq!(words.iter().filter(|&&word| word == "TEXT").count(), input.len().div_ceil(2));
        let lines = run(words[1..4].iter().chain(input)).lines();
        assert_eq!(lines.len(), 1, "{last}");
    }
}

#[test]
fn trainings_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = training(folder.path(), 10);
    let output = path(&folder.path().join("out"));
    let error =
        |more: &[&str]| run(["train", &config, "--output", &output].iter().chain(more)).error(2);
    assert!(error(&["--set", "optimiser.rat=1"]).contains("'rate' may be meant"));
    assert!(error(&["--family", "bert"]).contains("t5, bart, gpt2, rnn"));
    assert!(error(&["--format", "int8"]).contains("f32 or bf16"));
    assert!(error(&["--train", "/nonexistent.tsv"]).contains("/nonexistent.tsv"));
    assert!(error(&["--set", "architecture.d_modle=32"]).contains("'d_model' may be meant"));
    assert!(error(&["--set", "architecture.d_model='wide'"]).contains("'d_model'"));
    assert!(!Path::new(&output).exists());
}
