//! chrF: F_β of character n-grams, which weighs recall β = 2 times as much as precision.
//!
//! Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"; 2017, "chrF++: words helping character
//! n-grams". As sacrebleu: counts of the reference with the best F of each row, summed over the corpus; precision and
//! recall are averages over the n for which both sides have n-grams.

use super::{
    Counts,
    ngrams::{matches, ngrams, split, total},
};
use std::hash::Hash;

/// The longest n-grams of characters.
const CHARACTERS: usize = 6;
/// β².
const FACTOR: f64 = 4.0;

/// Counts for one length of n-grams.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Order {
    hypothesis: u64,
    reference: u64,
    matches: u64,
}

#[derive(Debug)]
pub(super) struct Chrf {
    /// Characters first, then words.
    orders: Vec<Order>,
}

impl Chrf {
    /// With word n-grams up to `words`: 0 for chrF, 2 for chrF++.
    pub(super) fn new(words: usize) -> Self {
        Self { orders: vec![Order::default(); CHARACTERS + words] }
    }
}

impl Counts for Chrf {
    fn add(&mut self, hypothesis: &str, references: &[&str]) {
        let words = self.orders.len() - CHARACTERS;
        let hypothesis = Text::new(hypothesis);
        let counted = references.iter().map(|r| hypothesis.orders(&Text::new(r), words));
        // The first of the best.
        let best = counted.reduce(|best, next| match f_score(&next) > f_score(&best) {
            true => next,
            false => best,
        });
        for (sum, order) in self.orders.iter_mut().zip(best.into_iter().flatten()) {
            sum.hypothesis += order.hypothesis;
            sum.reference += order.reference;
            sum.matches += order.matches;
        }
    }

    fn score(&self) -> f64 {
        100.0 * f_score(&self.orders)
    }
}

/// A text in characters and in words.
struct Text<'a> {
    characters: Vec<char>,
    words: Vec<&'a str>,
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        let characters = split(text).flat_map(str::chars).collect();
        Self { characters, words: split(text).flat_map(apart).collect() }
    }

    fn orders(&self, reference: &Self, words: usize) -> Vec<Order> {
        let characters =
            (1..=CHARACTERS).map(|n| order(&self.characters, &reference.characters, n));
        characters.chain((1..=words).map(|n| order(&self.words, &reference.words, n))).collect()
    }
}

fn order<T: Hash + Eq>(hypothesis: &[T], reference: &[T], n: usize) -> Order {
    let of_reference = total(reference.len(), n);
    Order {
        // Of a length that the reference has not, the hypothesis could have none right.
        hypothesis: if of_reference > 0 { total(hypothesis.len(), n) } else { 0 },
        reference: of_reference,
        matches: matches(&ngrams(hypothesis, n), &ngrams(reference, n)),
    }
}

/// A word without the punctuation behind it, or else before it, and that punctuation: one character on one side.
fn apart(word: &str) -> impl Iterator<Item = &str> {
    let cut = match (word.chars().next(), word.chars().next_back()) {
        _ if word.chars().nth(1).is_none() => 0,
        (_, Some(last)) if last.is_ascii_punctuation() => word.len() - 1,
        (Some(first), _) if first.is_ascii_punctuation() => 1,
        _ => 0,
    };
    let (before, behind) = word.split_at(cut);
    [before, behind].into_iter().filter(|part| !part.is_empty())
}

/// From 0 to 1.
fn f_score(orders: &[Order]) -> f64 {
    let both = || orders.iter().filter(|o| o.hypothesis > 0 && o.reference > 0);
    let count = both().count().max(1) as f64;
    let mean = |part: fn(&Order) -> u64| {
        both().map(|o| o.matches as f64 / part(o) as f64).sum::<f64>() / count
    };
    let (precision, recall) = (mean(|o| o.hypothesis), mean(|o| o.reference));
    if precision + recall == 0.0 {
        return 0.0;
    }
    (1.0 + FACTOR) * precision * recall / (FACTOR * precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_one_mark() {
        let parts = |word| apart(word).collect::<Vec<_>>();
        assert_eq!(parts("(hi)"), ["(hi", ")"]);
        assert_eq!(parts("\"hi"), ["\"", "hi"]);
        assert_eq!(parts("!"), ["!"]);
        assert_eq!(parts("«é»"), ["«é»"]);
        assert_eq!(parts("é."), ["é", "."]);
    }

    #[test]
    fn f_is_that_of_the_formula() {
        let mut chrf = Chrf::new(0);
        chrf.add("ab", &["abc"]);
        // One and two characters: precision 1 and 1, recall 2/3 and 1/2; the reference alone has three.
        let recall = (2.0 / 3.0 + 0.5) / 2.0;
        assert!((chrf.score() - 100.0 * 5.0 * recall / (4.0 + recall)).abs() < 1e-12);
    }
}
