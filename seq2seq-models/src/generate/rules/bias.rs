use super::{Processor, View, ban, distinct};
use seq2seq_core::LogitRule;
use std::collections::BTreeMap;

/// Adds to the score of an id that would complete a sequence. Where several sequences end in one id, the biases add up.
pub(super) struct SequenceBias {
    sequences: Vec<(Vec<u32>, u32, f32)>,
}

impl SequenceBias {
    /// The last of several biases for one sequence counts; empty sequences are left out.
    pub(super) fn new(biases: &[(Vec<u32>, f64)]) -> Self {
        let mut sequences: Vec<(Vec<u32>, u32, f32)> = Vec::new();
        for (ids, bias) in biases {
            let Some((&last, prefix)) = ids.split_last() else { continue };
            match sequences.iter_mut().find(|(p, l, _)| p == prefix && *l == last) {
                Some((.., old)) => *old = *bias as f32,
                None => sequences.push((prefix.to_vec(), last, *bias as f32)),
            }
        }
        // transformers sums the single ids first, then groups of one length.
        sequences.sort_by_key(|(prefix, ..)| prefix.len());
        Self { sequences }
    }
}

impl Processor for SequenceBias {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        let mut sums = BTreeMap::new();
        for (prefix, last, bias) in &self.sequences {
            if view.ids.ends_with(prefix) {
                *sums.entry(*last).or_insert(0.0) += bias;
            }
        }
        if !sums.is_empty() {
            out.push(LogitRule::Add(sums.into_iter().collect()));
        }
    }
}

/// Bans an id that would complete a bad word. A word that is one EOS id is left out (PARITY trap 59).
pub(super) struct BadWords {
    words: Vec<(Vec<u32>, u32)>,
}

impl BadWords {
    pub(super) fn new(words: &[Vec<u32>], eos: &[u32]) -> Self {
        let words = words
            .iter()
            .filter_map(|word| word.split_last())
            .filter(|(last, prefix)| !(prefix.is_empty() && eos.contains(last)))
            .map(|(&last, prefix)| (prefix.to_vec(), last))
            .collect();
        Self { words }
    }
}

impl Processor for BadWords {
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>) {
        let completed = self.words.iter().filter(|(prefix, _)| view.ids.ends_with(prefix));
        let banned: Vec<u32> = completed.map(|&(_, last)| last).collect();
        ban(distinct(&banned, view.vocab), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::rules::testing::rules_after;

    #[test]
    fn biases_add_up() {
        let bias = || {
            SequenceBias::new(&[
                (vec![1, 2], 8.0),
                (vec![2], 1.0),
                (vec![3], 2.0),
                (vec![5, 1, 2], 4.0),
                (vec![3], -2.0),
                (vec![], 9.0),
            ])
        };
        let add = |pairs: &[(u32, f32)]| vec![LogitRule::Add(pairs.to_vec())];
        assert_eq!(rules_after(bias(), &[0], 1), add(&[(2, 1.0), (3, -2.0)]));
        assert_eq!(rules_after(bias(), &[1], 1), add(&[(2, 9.0), (3, -2.0)]));
        assert_eq!(rules_after(bias(), &[5, 1], 1), add(&[(2, 13.0), (3, -2.0)]));
        assert!(rules_after(SequenceBias::new(&[(vec![1, 2], 1.0)]), &[2], 1).is_empty());
    }

    #[test]
    fn bad_words_ban_their_last_id() {
        let words = || BadWords::new(&[vec![7], vec![1, 2], vec![9], vec![3, 9], vec![]], &[9]);
        assert_eq!(rules_after(words(), &[0], 1), [LogitRule::Ban(vec![7])]);
        assert_eq!(rules_after(words(), &[0, 1], 1), [LogitRule::Ban(vec![2, 7])]);
        assert_eq!(rules_after(words(), &[3], 1), [LogitRule::Ban(vec![7, 9])]);
    }
}
