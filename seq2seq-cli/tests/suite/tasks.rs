//! `seq2seq embed`, `classify`, `tag`, `answer` and `fill-mask`. What they find is tested in seq2seq-models; here, that
//! it arrives.

use crate::support::{self, close, fixture_json, model, run, run_with};
use serde_json::{Value, json};

fn case(name: &str, file: &str, i: usize) -> Value {
    fixture_json(name, file)["cases"][i].clone()
}

fn arguments(first: &[&str], name: &str) -> Vec<String> {
    first.iter().map(ToString::to_string).chain(model(name)).collect()
}

#[test]
fn embed() {
    let cases =
        fixture_json("sentence_mean", "embeddings.json")["cases"].as_array().unwrap().clone();
    let input: String = cases.iter().map(|c| format!("{}\n", json!({"text": c["text"]}))).collect();
    for batch in ["--batch-tokens=1", "--batch-tokens=1000"] {
        let lines =
            run_with(arguments(&["embed", "--input=-", batch], "sentence_mean"), input.as_bytes())
                .lines();
        assert_eq!(lines.len(), cases.len());
        for (i, (line, case)) in lines.iter().zip(&cases).enumerate() {
            assert_eq!(line["row"], i);
            let (got, expected) =
                (line["embedding"].as_array().unwrap(), case["embedding"].as_array().unwrap());
            assert!(
                got.iter().zip(expected).all(|(g, e)| close(g, e.as_f64().unwrap())),
                "{line} {case}"
            );
        }
    }
    let text = cases[1]["text"].as_str().unwrap();
    let line = run(arguments(&["embed", text], "sentence_mean")).ok();
    assert!(line.starts_with("{\"row\":0,\"embedding\":["), "{line}");
}

#[test]
fn classify() {
    let name = "bert_sequence_classification";
    let expected = case(name, "tasks.json", 5);
    let line = json!({"text": expected["text"], "text_pair": expected["text_pair"]});
    let got = &run_with(
        arguments(&["classify", "--input=-", "--top-k=2"], name),
        line.to_string().as_bytes(),
    )
    .lines()[0];
    let labels = got["labels"].as_array().unwrap();
    assert_eq!(labels.len(), 2);
    for (label, expected) in labels.iter().zip(expected["expected"].as_array().unwrap()) {
        assert_eq!(label["label"], expected["label"]);
        assert!(close(&label["score"], expected["score"].as_f64().unwrap()));
    }
    let text = case(name, "tasks.json", 0)["text"].as_str().unwrap().to_owned();
    let lines = run(arguments(&["classify", &text, &text], name)).lines();
    assert_eq!((lines.len(), &lines[1]["row"]), (2, &json!(1)));
    assert_eq!(lines[0]["labels"], lines[1]["labels"]);
}

#[test]
fn tag() {
    let name = "bert_token_classification";
    let expected = case(name, "tasks.json", 0);
    let text = expected["text"].as_str().unwrap();
    for how in ["none", "simple", "first", "average", "max"] {
        let got = &run(arguments(&["tag", text, "--aggregation", how], name)).lines()[0];
        let (got, expected) =
            (got["entities"].as_array().unwrap(), expected["expected"][how].as_array().unwrap());
        let spans = |e: &[Value]| {
            e.iter()
                .map(|e| (e["word"].clone(), e["start"].clone(), e["end"].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(spans(got), spans(expected), "{how}");
    }
    let all =
        &run(arguments(&["tag", text, "--aggregation=none", "--ignore-labels="], name)).lines()[0];
    assert_eq!(
        all["entities"].as_array().unwrap().len(),
        expected["input_ids"].as_array().unwrap().len() - 2
    );
}

#[test]
fn answer() {
    let name = "bert_question_answering";
    let expected = fixture_json("answers", &format!("{name}.json"))[5].clone();
    let (question, context) =
        (expected["question"].as_str().unwrap(), expected["context"].as_str().unwrap());
    let args = [
        "answer",
        "-q",
        question,
        "-c",
        context,
        "--top-k=5",
        "--max-seq-len=24",
        "--doc-stride=6",
    ];
    for batch in ["--batch-tokens=1", "--batch-tokens=1000"] {
        let got = &run(arguments(&[&args[..], &[batch]].concat(), name)).lines()[0];
        let answers = |a: &Value| {
            a.as_array().unwrap().iter().map(|a| a["answer"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(answers(&got["answers"]), answers(&expected["expected"]));
    }
    let line = json!({"question": question, "context": context}).to_string();
    assert_eq!(
        run_with(arguments(&["answer", "--input=-"], name), line.as_bytes()).lines().len(),
        1
    );
}

#[test]
fn fill_mask() {
    let name = "roberta_masked_lm";
    let expected = case(name, "tasks.json", 0);
    let got =
        &run(arguments(&["fill-mask", expected["text"].as_str().unwrap(), "--top-k=3"], name))
            .lines()[0];
    let fills = got["masks"][0].as_array().unwrap();
    assert_eq!(fills.len(), 3);
    for (fill, expected) in fills.iter().zip(expected["expected"].as_array().unwrap()) {
        assert_eq!(
            (&fill["token"], &fill["sequence"]),
            (&expected["token"], &expected["sequence"])
        );
    }
}

/// A model that is kept in the cache of the hub is used by its id, without the network.
#[cfg(feature = "hub")]
#[test]
fn by_its_id_on_the_hub() {
    let home = tempfile::tempdir().unwrap();
    let kept = home.path().join("hub/models--me--tiny");
    let snapshot = kept.join("snapshots/0123456789abcdef");
    std::fs::create_dir_all(kept.join("refs")).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::write(kept.join("refs/main"), "0123456789abcdef").unwrap();
    for entry in
        std::fs::read_dir(support::fixture("sentence_cls")).unwrap().map(|e| e.unwrap().path())
    {
        let to = snapshot.join(entry.file_name().unwrap());
        match entry.is_dir() {
            true => {
                std::fs::create_dir(&to).unwrap();
                std::fs::copy(entry.join("config.json"), to.join("config.json")).ok();
            }
            false => drop(std::fs::copy(&entry, to).unwrap()),
        }
    }
    let embed = |id: &str| {
        let output = support::command()
            .env("HF_HOME", home.path())
            .args(["embed", "cat", "--model", id])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let folder = support::fixture("sentence_cls");
    assert_eq!(embed("me/tiny"), embed(folder.to_str().unwrap()));
    assert_eq!(embed("me/tiny").0, Some(0));
    let (code, _, error) = embed("me/other");
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("me/other"), "{error}");
}
