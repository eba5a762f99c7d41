//! How good generated text is against references, over a whole corpus.
//!
//! [`Scorer`] takes one hypothesis after the other and keeps counts alone, so that a corpus need not fit in memory:
//!
//! ```
//! use seq2seq_models::train::metrics::{Metric, Scorer};
//!
//! let mut scorer = Scorer::new(&[Metric::Bleu, Metric::ExactMatch]);
//! scorer.add("the cat sat on the mat", &["the cat sat on the mat", "a cat sat there"])?;
//! let scores = scorer.scores()?;
//! assert_eq!(scores[1], (Metric::ExactMatch, 100.0));
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! [`Perplexity`] and [`TokenAccuracy`] are about ids rather than text.
//!
//! ```
//! use seq2seq_models::train::metrics::{Perplexity, TokenAccuracy};
//!
//! let (mut perplexity, mut accuracy) = (Perplexity::default(), TokenAccuracy::default());
//! // A batch: its loss summed over its tokens, and how many these are.
//! perplexity.add(3.0 * 2f64.ln(), 3);
//! accuracy.add(&[14, 15, 1], &[14, 9, 1]);
//! // Another one.
//! perplexity.add(2f64.ln(), 1);
//! accuracy.add(&[1], &[1]);
//! assert!((perplexity.value() - 2.0).abs() < 1e-12);
//! assert_eq!(accuracy.value(), 75.0);
//! ```

mod bleu;
mod chrf;
mod exact_match;
mod ngrams;
mod rouge;
mod running;
mod tokenize_13a;

pub use running::{Perplexity, TokenAccuracy};

use crate::{Error, Result};
use std::{fmt, str::FromStr};

/// A measure of generated text, from 0 to 100, more being better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// The share of hypotheses that are one of their references to the byte.
    ExactMatch,
    /// Modified precision of word n-grams up to 4 with a brevity penalty (Papineni et al. 2002), as sacrebleu has it by
    /// default: mteval-13a tokens, exponential smoothing, no effective order (Post 2018).
    Bleu,
    /// F2 of character n-grams up to 6 without white space (Popović 2015), as sacrebleu has it by default.
    Chrf,
    /// chrF and word n-grams up to 2 (Popović 2017).
    ChrfPlusPlus,
    /// F1 of words (Lin 2004), the mean over hypotheses, as the `rouge-score` package has it without a stemmer.
    Rouge1,
    /// F1 of word pairs.
    Rouge2,
    /// F1 of the longest common subsequence of words.
    RougeL,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ExactMatch,
        Self::Bleu,
        Self::Chrf,
        Self::ChrfPlusPlus,
        Self::Rouge1,
        Self::Rouge2,
        Self::RougeL,
    ];

    /// What [`FromStr`] reads: `exact_match`, `bleu`, `chrf`, `chrf++`, `rouge1`, `rouge2`, `rougeL`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact_match",
            Self::Bleu => "bleu",
            Self::Chrf => "chrf",
            Self::ChrfPlusPlus => "chrf++",
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rougeL",
        }
    }

    fn counts(self) -> Box<dyn Counts> {
        match self {
            Self::ExactMatch => Box::<exact_match::ExactMatch>::default(),
            Self::Bleu => Box::<bleu::Bleu>::default(),
            Self::Chrf => Box::new(chrf::Chrf::new(0)),
            Self::ChrfPlusPlus => Box::new(chrf::Chrf::new(2)),
            Self::Rouge1 => Box::new(rouge::Rouge::new(rouge::Unit::Ngrams(1))),
            Self::Rouge2 => Box::new(rouge::Rouge::new(rouge::Unit::Ngrams(2))),
            Self::RougeL => Box::new(rouge::Rouge::new(rouge::Unit::Subsequence)),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|m| m.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|m| m.name()).collect();
            format!("no metric is called '{name}' (there is: {})", known.join(", "))
        })
    }
}

/// What a metric keeps of the hypotheses that it has seen.
trait Counts: Send {
    /// `references` holds at least one.
    fn add(&mut self, hypothesis: &str, references: &[&str]);

    /// From 0 to 100. Something has been added.
    fn score(&self) -> f64;
}

/// Several metrics over one corpus.
pub struct Scorer {
    metrics: Vec<(Metric, Box<dyn Counts>)>,
    rows: usize,
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics: Vec<_> = self.metrics.iter().map(|(m, _)| m).collect();
        f.debug_struct("Scorer").field("metrics", &metrics).field("rows", &self.rows).finish()
    }
}

impl Scorer {
    /// Nothing scored yet.
    pub fn new(metrics: &[Metric]) -> Self {
        Self { metrics: metrics.iter().map(|&m| (m, m.counts())).collect(), rows: 0 }
    }

    /// Counts one hypothesis. Rows may have different numbers of references.
    ///
    /// # Errors
    /// When there is no reference.
    pub fn add(&mut self, hypothesis: &str, references: &[&str]) -> Result<()> {
        if references.is_empty() {
            let row = self.rows + 1;
            return Err(Error::input(format!("hypothesis {row} has no reference to be scored by")));
        }
        for (_, counts) in &mut self.metrics {
            counts.add(hypothesis, references);
        }
        self.rows += 1;
        Ok(())
    }

    /// The number of hypotheses so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The scores so far, from 0 to 100, in the order in which the metrics were named.
    ///
    /// # Errors
    /// When there was no hypothesis.
    pub fn scores(&self) -> Result<Vec<(Metric, f64)>> {
        if self.rows == 0 {
            return Err(Error::input("there are no hypotheses to score"));
        }
        Ok(self.metrics.iter().map(|(metric, counts)| (*metric, counts.score())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse(), Ok(metric));
        }
        assert_eq!("ROUGEL".parse(), Ok(Metric::RougeL));
        assert!("meteor".parse::<Metric>().unwrap_err().contains("chrf++"));
    }

    #[test]
    fn nothing_to_score_is_an_error() {
        let mut scorer = Scorer::new(&Metric::ALL);
        assert!(scorer.scores().is_err());
        let error = scorer.add("a", &[]).unwrap_err().to_string();
        assert!(error.contains("hypothesis 1"), "{error}");
        assert_eq!(scorer.rows(), 0);
    }

    #[test]
    fn scores_end_at_0_and_100() {
        for metric in Metric::ALL {
            let score = |hypothesis: &str| {
                let mut scorer = Scorer::new(&[metric]);
                scorer.add(hypothesis, &["the old cat sat there"]).unwrap();
                scorer.scores().unwrap()[0].1
            };
            let perfect = score("the old cat sat there");
            assert!((perfect - 100.0).abs() < 1e-9, "{metric}: {perfect}");
            assert_eq!(score(""), 0.0, "{metric}");
            assert_eq!(score("5"), 0.0, "{metric}");
        }
    }
}
