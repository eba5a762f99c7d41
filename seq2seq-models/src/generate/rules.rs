//! The logits processors of transformers as rules: from the history of a hypothesis, what is to change in its scores.
//!
//! One small file a kind; [`RuleBook`] holds those that a generation needs, in the order of transformers
//! (PARITY trap 46).

mod bias;
mod decay;
mod force;
mod ngram;
mod repetition;
mod suppress;

pub(super) use bias::{BadWords, SequenceBias};
pub(super) use decay::ExponentialDecay;
pub(super) use force::{ForcedBos, ForcedEos, MinLength};
pub(super) use ngram::{EncoderNoRepeatNgram, NoRepeatNgram};
pub(super) use repetition::{EncoderRepetitionPenalty, RepetitionPenalty};
pub(super) use suppress::{BeginSuppressTokens, SuppressTokens};

use seq2seq_core::LogitRule;

/// What a rule may depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// All ids of the hypothesis: the decoder's start or the prompt, and what was generated.
    pub(super) ids: &'a [u32],
    /// How many of them were not generated.
    pub(super) prompt: usize,
    /// The encoder's input; the prompt where there is no encoder.
    pub(super) source: &'a [u32],
    /// The most ids that the hypothesis may come to have.
    pub(super) max_length: usize,
    /// While it has fewer, it may not end.
    pub(super) min_length: usize,
    /// V
    pub(super) vocab: usize,
}

/// A logits processor.
pub(super) trait Processor: Send + Sync {
    /// Appends what changes in the scores of the next id of `view`.
    fn rules(&self, view: &View<'_>, out: &mut Vec<LogitRule>);
}

/// The processors of one generation, in their order.
#[derive(Default)]
pub(super) struct RuleBook {
    processors: Vec<Box<dyn Processor>>,
}

impl RuleBook {
    pub(super) fn push(&mut self, processor: impl Processor + 'static) {
        self.processors.push(Box::new(processor));
    }

    /// Refills `out` with the rules of each hypothesis; leaves it empty where there is no processor.
    pub(super) fn fill<'a>(
        &self,
        views: impl Iterator<Item = View<'a>>,
        out: &mut Vec<Vec<LogitRule>>,
    ) {
        out.clear();
        if self.processors.is_empty() {
            return;
        }
        out.extend(views.map(|view| {
            let mut rules = Vec::new();
            self.processors.iter().for_each(|p| p.rules(&view, &mut rules));
            rules
        }));
    }
}

/// `ids` in rising order, each once, without those that the logits do not have.
fn distinct(ids: &[u32], vocab: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = ids.iter().copied().filter(|&id| (id as usize) < vocab).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Appends a ban of `ids` unless there are none.
fn ban(ids: Vec<u32>, out: &mut Vec<LogitRule>) {
    if !ids.is_empty() {
        out.push(LogitRule::Ban(ids));
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// The rules of one processor after `ids`, of which `prompt` were given; vocabulary of 10, lengths 0 to 8.
    pub(super) fn rules_after(
        processor: impl Processor,
        ids: &[u32],
        prompt: usize,
    ) -> Vec<LogitRule> {
        let view = View {
            ids,
            prompt,
            source: &[4, 5, 6, 4, 5, 7, 12],
            max_length: 8,
            min_length: 3,
            vocab: 10,
        };
        let mut out = Vec::new();
        processor.rules(&view, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_without_processors_makes_no_lists() {
        let view =
            View { ids: &[0], prompt: 1, source: &[], max_length: 9, min_length: 0, vocab: 4 };
        let mut out = Vec::new();
        RuleBook::default().fill([view].into_iter(), &mut out);
        assert!(out.is_empty());
        let mut book = RuleBook::default();
        book.push(SuppressTokens::new(&[2, 9, 2], 4));
        book.push(ForcedBos(3));
        book.fill([view, View { ids: &[0, 1], ..view }].into_iter(), &mut out);
        let banned = LogitRule::Ban(vec![2]);
        assert_eq!(out, [vec![banned.clone(), LogitRule::Only(vec![3])], vec![banned]]);
    }
}
