//! Corpus metrics against sacrebleu and rouge-score.

use seq2seq_models::train::metrics::{Metric, Scorer};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Corpus {
    name: String,
    hypotheses: Vec<String>,
    references: Vec<Vec<String>>,
    scores: BTreeMap<String, f64>,
}

#[test]
fn scores_are_those_of_sacrebleu_and_rouge_score() {
    let corpora: Vec<Corpus> = super::fixture("metrics/corpora.json");
    assert!(corpora.len() > 10);
    for Corpus { name, hypotheses, references, scores } in corpora {
        let metrics: Vec<Metric> = scores.keys().map(|m| m.parse().unwrap()).collect();
        assert_eq!(metrics.len(), Metric::ALL.len());
        let mut scorer = Scorer::new(&metrics);
        assert_eq!(hypotheses.len(), references.len());
        for (hypothesis, references) in hypotheses.iter().zip(&references) {
            let references: Vec<&str> = references.iter().map(|r| &r[..]).collect();
            scorer.add(hypothesis, &references).unwrap();
        }
        for (metric, score) in scorer.scores().unwrap() {
            let expected = scores[metric.name()];
            // The same counts, and sums of a few numbers: they differ in the last bits.
            assert!((score - expected).abs() < 1e-9, "{name}: {metric} {score} {expected}");
        }
    }
}
