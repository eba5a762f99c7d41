//! ROUGE: F1 of n-grams, or of the longest common subsequence, against a reference.
//!
//! Lin 2004, "ROUGE: a package for automatic evaluation of summaries", as the `rouge-score` package computes it without
//! stemmer: tokens are runs of the letters a-z and digits in lower case; with several references the best one counts;
//! the score of a corpus is the mean over its rows.

use super::{
    Counts,
    ngrams::{matches, ngrams, total},
};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Runs of so many tokens.
    Ngrams(usize),
    /// Tokens in the same order, with any others between them.
    Subsequence,
}

#[derive(Debug)]
pub(super) struct Rouge {
    unit: Unit,
    rows: u64,
    sum: f64,
}

impl Rouge {
    pub(super) fn new(unit: Unit) -> Self {
        Self { unit, rows: 0, sum: 0.0 }
    }

    fn f1(&self, hypothesis: &[String], reference: &[String]) -> f64 {
        let (common, n) = match self.unit {
            Unit::Ngrams(n) => (matches(&ngrams(hypothesis, n), &ngrams(reference, n)), n),
            Unit::Subsequence => (longest_common_subsequence(hypothesis, reference), 1),
        };
        // 2pr / (p + r) with p = common / |h| and r = common / |r|.
        match total(hypothesis.len(), n) + total(reference.len(), n) {
            0 => 0.0,
            both => 2.0 * common as f64 / both as f64,
        }
    }
}

impl Counts for Rouge {
    fn add(&mut self, hypothesis: &str, references: &[&str]) {
        let hypothesis = tokens(hypothesis);
        let scores = references.iter().map(|r| self.f1(&hypothesis, &tokens(r)));
        self.sum += scores.fold(0.0, f64::max);
        self.rows += 1;
    }

    fn score(&self) -> f64 {
        100.0 * self.sum / self.rows as f64
    }
}

fn tokens(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let runs = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    runs.filter(|run| !run.is_empty()).map(String::from).collect()
}

/// Its length, by the usual table of which one row is kept.
fn longest_common_subsequence(a: &[String], b: &[String]) -> u64 {
    // row[j]: of all of `a` so far and the first j of `b`.
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_paper() {
        // Section 3.1: "police killed the gunman" and two candidates.
        let score = |unit, hypothesis: &str| {
            let mut rouge = Rouge::new(unit);
            rouge.add(hypothesis, &["police killed the gunman"]);
            rouge.score()
        };
        for (unit, hypothesis, expected) in [
            (Unit::Subsequence, "police kill the gunman", 75.0),
            (Unit::Subsequence, "the gunman kill police", 50.0),
            (Unit::Ngrams(2), "police kill the gunman", 100.0 / 3.0),
        ] {
            assert!((score(unit, hypothesis) - expected).abs() < 1e-12, "{unit:?} {hypothesis}");
        }
    }
}
