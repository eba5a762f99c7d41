//! Models with heads for classes, trained on rows and asked afterwards as an application would.

use super::path;
use seq2seq_models::{
    LoadOptions, Model, Tokenizer,
    tasks::{self, Aggregation, Classifier, Labels, Tagger, TextPair},
    train::{Settings, Trainer, settings::ObjectiveSettings},
};
use std::{fs, path::Path};

/// Trains the model of a fixture until it knows its few rows by heart.
fn trained(
    fixture: &str,
    objective: ObjectiveSettings,
    rows: (&str, &str),
    folder: &Path,
) -> Model {
    let (name, rows) = rows;
    let file = folder.join(name);
    fs::write(&file, rows).unwrap();
    let mut settings = Settings {
        train: vec![file.clone()],
        valid: vec![file],
        output: folder.join("out"),
        model: Some(path(fixture)),
        steps: 80,
        threads: Some(2),
        ..Settings::default()
    };
    settings.data.objective = objective;
    settings.optimiser.rate = Some(3e-3);
    settings.evaluation.best = "token_accuracy".into();
    Trainer::new(settings.clone(), false).unwrap().run(&mut ()).unwrap();
    let log = fs::read_to_string(settings.output.join("training/metrics.jsonl")).unwrap();
    let last = log.lines().rfind(|line| line.contains("\"evaluate\"")).unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["token_accuracy"], 100.0, "{last}");
    Model::load(&settings.output, &LoadOptions::default()).unwrap()
}

#[test]
fn classes_of_texts() {
    let rows =
        [("the cat sat", "fine"), ("the old dog ran", "grand"), ("anna is in paris", "dull")];
    let text: String = rows.iter().map(|(text, label)| format!("{text}\t{label}\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let model = trained(
        "bert_sequence_classification",
        ObjectiveSettings::Classify {},
        ("rows.tsv", &text),
        folder.path(),
    );
    let tokenizer = Tokenizer::from_files(model.files()).unwrap();
    let labels = Labels::from_config(model.config()).unwrap();
    let task = Classifier { tokenizer: &tokenizer, labels, top_k: 1, truncate: None };
    let inputs = rows.map(|(text, _)| TextPair { text: text.into(), pair: None });
    for (scores, (text, label)) in tasks::run(&model, &task, &inputs).unwrap().iter().zip(rows) {
        assert_eq!(scores[0].label, label, "{text}");
    }
}

#[test]
fn classes_of_words() {
    let rows = [
        (&["Anna", "ran", "to", "Paris", "."][..], &["B-PER", "O", "O", "B-LOC", "O"][..]),
        (&["the", "old", "river-house"], &["O", "B-LOC", "I-LOC"]),
        (&["who", "is", "Anna", "of", "Paris"], &["O", "O", "B-PER", "I-PER", "I-PER"]),
    ];
    let line = |(tokens, tags): &(&[&str], &[&str])| {
        serde_json::json!({ "tokens": tokens, "tags": tags }).to_string() + "\n"
    };
    let text: String = rows.iter().map(line).collect();
    let folder = tempfile::tempdir().unwrap();
    let model = trained(
        "bert_token_classification",
        ObjectiveSettings::Tag {},
        ("rows.jsonl", &text),
        folder.path(),
    );
    let tokenizer = Tokenizer::from_files(model.files()).unwrap();
    let labels = Labels::from_config(model.config()).unwrap();
    let task = Tagger {
        tokenizer: &tokenizer,
        labels,
        aggregation: Aggregation::None,
        ignore: Vec::new(),
        truncate: None,
    };
    let inputs = rows.map(|(tokens, _)| tokens.join(" "));
    for (found, (tokens, tags)) in tasks::run(&model, &task, &inputs).unwrap().iter().zip(rows) {
        // Of each word the first token is held to its tag.
        let mut start = 0;
        for (token, tag) in tokens.iter().zip(tags) {
            let entity = found.iter().find(|e| e.start == start).unwrap();
            assert_eq!(entity.entity.as_deref(), Some(*tag), "{token}");
            start += token.chars().count() + 1;
        }
    }
}
