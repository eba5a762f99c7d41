//! BLEU: exp of the mean log precision of n-grams, times a penalty for what is too short.
//!
//! Papineni, Roukos, Ward and Zhu 2002, "BLEU: a method for automatic evaluation of machine translation"; the details
//! are sacrebleu's defaults (Post 2018, "A call for clarity in reporting BLEU scores"). Counts are summed over the
//! corpus:
//!
//! - precision p_n = matches / total, where an n-gram matches as often as in the reference that has most of it
//! - where nothing matches, 1 / (2^k total) for the k-th such n (exponential smoothing, "NIST")
//! - penalty exp(1 - r/h) where h < r; h words in hypotheses, r in the references whose lengths are closest, of two the
//!   shorter one
//! - 0 where no n-gram of any length matches, or where hypotheses have no n-grams of some length

use super::{
    Counts,
    ngrams::{Most, ngrams, total},
    tokenize_13a::tokenize,
};

/// The longest n-grams.
const ORDER: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Bleu {
    matches: [u64; ORDER],
    totals: [u64; ORDER],
    hypothesis_words: u64,
    reference_words: u64,
}

impl Counts for Bleu {
    fn add(&mut self, hypothesis: &str, references: &[&str]) {
        let hypothesis = tokenize(hypothesis);
        let hypothesis = words(&hypothesis);
        let references: Vec<String> = references.iter().map(|r| tokenize(r)).collect();
        let references: Vec<Vec<&str>> = references.iter().map(|r| words(r)).collect();
        for n in 1..=ORDER {
            let mut most = Most::default();
            for reference in &references {
                most.add(ngrams(reference, n));
            }
            self.matches[n - 1] += most.matches(&ngrams(&hypothesis, n));
            self.totals[n - 1] += total(hypothesis.len(), n);
        }
        let lengths = references.iter().map(Vec::len);
        let closest = lengths.min_by_key(|&n| (n.abs_diff(hypothesis.len()), n)).unwrap_or(0);
        self.hypothesis_words += hypothesis.len() as u64;
        self.reference_words += closest as u64;
    }

    fn score(&self) -> f64 {
        if self.matches == [0; ORDER] || self.totals.contains(&0) {
            return 0.0;
        }
        let mut smoothing = 1.0;
        let precisions = self.matches.iter().zip(&self.totals).map(|(&matches, &total)| {
            if matches > 0 {
                return matches as f64 / total as f64;
            }
            smoothing *= 2.0;
            1.0 / (smoothing * total as f64)
        });
        let mean = precisions.map(f64::ln).sum::<f64>() / ORDER as f64;
        let ratio = self.reference_words as f64 / self.hypothesis_words as f64;
        100.0 * (mean + (1.0 - ratio).min(0.0)).exp()
    }
}

/// Tokens hold no white space.
fn words(tokenized: &str) -> Vec<&str> {
    tokenized.split(' ').filter(|w| !w.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_those_of_the_paper() {
        // Section 2.1: "the" counts twice, as often as in the first reference.
        let mut bleu = Bleu::default();
        let references = ["The cat is on the mat.", "There is a cat on the mat."];
        let lower = references.map(str::to_lowercase);
        bleu.add("the the the the the the the", &lower.each_ref().map(|r| &r[..]));
        assert_eq!((bleu.matches, bleu.totals), ([2, 0, 0, 0], [7, 6, 5, 4]));
        assert_eq!((bleu.hypothesis_words, bleu.reference_words), (7, 7));
        // 2/7, then 1/(2·6), 1/(4·5), 1/(8·4).
        let expected = 100.0 * (2.0 / 7.0 / 12.0 / 20.0 / 32.0f64).powf(0.25);
        assert!((bleu.score() - expected).abs() < 1e-12);
    }

    #[test]
    fn the_closest_reference_counts_and_of_two_the_shorter() {
        let mut bleu = Bleu::default();
        bleu.add("a b c", &["a b c d e f", "a b c d", "a b"]);
        assert_eq!(bleu.reference_words, 2);
    }
}
