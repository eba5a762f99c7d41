//! `seq2seq sample` and `seq2seq interpolate`, on a variational autoencoder that `seq2seq train` made.

use crate::support::run;
use serde_json::{Value, json};
use std::{fs, path::Path};

/// A few steps on a few texts: what it writes is no matter.
fn trained(folder: &Path) -> String {
    let rows: String =
        (0..20).map(|i| format!("{}\n", json!({"text": format!("row {i}")}))).collect();
    let (texts, output) = (folder.join("texts.jsonl"), folder.join("out"));
    fs::write(&texts, rows).unwrap();
    let [texts, output] = [texts, output].map(|p| p.to_str().unwrap().to_owned());
    let set = |assignment: &str| ["--set".to_owned(), assignment.to_owned()];
    let args = ["train", "--family", "rnn", "--steps", "6", "--threads", "1"].map(String::from);
    let files = ["--train".into(), texts.clone(), "--valid".into(), texts];
    let args = args.into_iter().chain(files).chain(["--output".into(), output.clone()]);
    let said = run(args
        .chain(set("data.objective.kind=vae"))
        .chain(set("architecture={ embedding_size = 8, hidden_size = 16, latent = { size = 3 } }"))
        .chain(set("log_every=2")))
    .ok();
    assert!(said.contains("kl ") && said.contains("elbo"), "{said}");
    output
}

#[test]
fn points_become_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let model = trained(folder.path());
    let short = "--max-new-tokens=12";
    let base = |command: &str| [command.to_owned(), "--model".into(), model.clone(), short.into()];
    let lines = |command: &str, more: &[&str]| -> Vec<Value> {
        let more = more.iter().map(|&s| s.to_owned()).chain(["--json".into()]);
        run(base(command).into_iter().chain(more)).lines()
    };
    let sampled = lines("sample", &["--count=5", "--seed=3"]);
    assert_eq!(sampled.len(), 5);
    assert_eq!(
        (&sampled[4]["row"], sampled[4]["latent"].as_array().unwrap().len()),
        (&json!(4), 3)
    );
    // The same again, whatever is decoded together, and fewer of them are the first ones.
    assert_eq!(lines("sample", &["--count=5", "--seed=3", "--batch=2"]), sampled);
    assert_eq!(lines("sample", &["-n", "2", "--seed=3"]), sampled[..2]);
    assert_ne!(lines("sample", &["--count=5", "--seed=4"]), sampled);

    let line = lines("interpolate", &["row 1", "row 19", "--steps=4"]);
    assert_eq!(line.len(), 4);
    let generated =
        run(base("generate").into_iter().chain(["--json", "row 1", "row 19"].map(String::from)));
    let generated = generated.lines();
    assert_eq!((&line[0]["ids"], &line[3]["ids"]), (&generated[0]["ids"], &generated[1]["ids"]));
    let at = |row: &Value| row["latent"][0].as_f64().unwrap();
    let third = at(&line[0]) + (at(&line[3]) - at(&line[0])) / 3.0;
    assert!((at(&line[1]) - third).abs() < 1e-5);
    // As text, and into a file.
    let text =
        run(base("interpolate").into_iter().chain(["row 1", "row 19"].map(String::from))).ok();
    assert_eq!(text.lines().count(), 7);
    let file = folder.path().join("drawn.jsonl");
    let output = format!("--output={}", file.display());
    run(base("sample").into_iter().chain([output, "--count=3".into()])).ok();
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3);
    let shown = run(["inspect", "--model", &model]).ok();
    assert!(shown.contains("a latent of 3"), "{shown}");
    let error =
        run(base("interpolate").into_iter().chain(["a", "b", "--steps=1"].map(String::from)));
    assert!(error.error(2).contains("at least 2"));
    let attention = folder.path().join("map.html");
    let attention = format!("--attention={}", attention.display());
    let error = run(base("generate").into_iter().chain([attention, "row 1".into()])).error(2);
    assert!(error.contains("no attention"), "{error}");
}

#[test]
fn models_without_a_latent_are_refused() {
    for args in [&["sample"][..], &["interpolate", "speak: 1", "speak: 2"]] {
        let error = run(args).error(2);
        assert!(error.contains("no latent"), "{error}");
    }
}
