//! Counting runs of words or characters.

use std::{collections::HashMap, hash::Hash};

/// How often each run of `n` neighbours stands in `items`.
pub(super) fn ngrams<T: Hash + Eq>(items: &[T], n: usize) -> HashMap<&[T], u64> {
    let mut counts = HashMap::new();
    for ngram in items.windows(n) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
}

/// How many n-grams two texts have in common, each as often as it stands in both.
pub(super) fn matches<T: Hash + Eq>(a: &HashMap<&[T], u64>, b: &HashMap<&[T], u64>) -> u64 {
    a.iter().filter_map(|(ngram, &n)| b.get(ngram).map(|&m| n.min(m))).sum()
}

/// How many n-grams a text of `items` has.
pub(super) fn total(items: usize, n: usize) -> u64 {
    (items + 1).saturating_sub(n) as u64
}

/// The parts of a text between white space, in the sense of Python's `str.split()`.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Python's `str.isspace`: Unicode's white space and the four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The most of each n-gram in any of several texts.
#[derive(Debug, Default)]
pub(super) struct Most<'a>(HashMap<&'a [&'a str], u64>);

impl<'a> Most<'a> {
    pub(super) fn add(&mut self, counts: HashMap<&'a [&'a str], u64>) {
        for (ngram, n) in counts {
            let most = self.0.entry(ngram).or_default();
            *most = n.max(*most);
        }
    }

    pub(super) fn matches(&self, counts: &HashMap<&[&str], u64>) -> u64 {
        counts.iter().filter_map(|(ngram, &n)| self.0.get(ngram).map(|&m| n.min(m))).sum()
    }
}
