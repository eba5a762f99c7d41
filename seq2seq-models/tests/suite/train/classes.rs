//! Models with heads for classes and for answers, trained on rows and asked afterwards as an application would.

use super::path;
use seq2seq_models::{
    LoadOptions, Model, Tokenizer,
    tasks::{
        self, Aggregation, AnswerOptions, Answering, Classifier, Labels, Question, Tagger, TextPair,
    },
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
    let labels = Labels::from_files(model.files()).unwrap();
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
    let labels = Labels::from_files(model.files()).unwrap();
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

/// A question that has no answer, an answer far behind, and one whose place is counted in characters.
#[test]
fn answers_in_texts() {
    let long = format!("{} anna ran to the blue house.", "the old dog sat on the river.".repeat(8));
    let rows = [
        ("Who ran?", "Anna and the dog ran.", "Anna"),
        ("Where is the cat?", "The cat sat on the river.", "on the river"),
        ("where is anna", &long, "the blue house"),
        ("what is old", "An élan, seated in the rivers-house, is old!", "An élan"),
        ("who is blue", "The dog ran to Paris.", ""),
    ];
    let line = |(question, context, answer): &(&str, &str, &str)| {
        let start = context[..context.rfind(answer).unwrap()].chars().count();
        let start = if answer.is_empty() { 0 } else { start };
        serde_json::json!({
            "question": question, "context": context, "answer": answer, "start": start
        })
        .to_string()
            + "\n"
    };
    let text: String = rows.iter().map(line).collect();
    for fixture in ["bert_question_answering", "roberta_question_answering"] {
        let folder = tempfile::tempdir().unwrap();
        let model =
            trained(fixture, ObjectiveSettings::Answer {}, ("rows.jsonl", &text), folder.path());
        let tokenizer = Tokenizer::from_files(model.files()).unwrap();
        let positions = model.plan().encoder.as_ref().and_then(|e| e.max_positions());
        let options = AnswerOptions { handle_impossible: true, ..AnswerOptions::default() };
        let task = Answering { tokenizer: &tokenizer, options, positions };
        for (question, context, answer) in rows {
            let input = Question { question: question.into(), context: context.into() };
            let found = tasks::run(&model, &task, &[input]).unwrap().remove(0);
            // Of a long context only the window with the answer was learned from.
            if context.len() < 100 {
                assert_eq!(found[0].answer, answer, "{fixture}: {question}");
            }
        }
    }
}

#[test]
fn objectives_are_for_their_rows_and_heads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    fs::write(&file, "{\"question\":\"a\",\"context\":\"b\",\"answer\":\"b\",\"start\":0}\n")
        .unwrap();
    let error = |model: &str, objective| {
        let mut settings = Settings {
            train: vec![file.clone()],
            output: folder.path().join("out"),
            model: Some(path(model)),
            ..Settings::default()
        };
        settings.data.objective = objective;
        Trainer::new(settings, false).err().unwrap().to_string()
    };
    let message = error("bert_sequence_classification", ObjectiveSettings::Answer {});
    assert!(message.contains("'answer' is not for this bert model"), "{message}");
    let message = error("gpt2_text", ObjectiveSettings::Write {});
    assert!(message.contains("'answer' does"), "{message}");
}
