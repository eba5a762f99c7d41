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

use super::GenerationConfig;
use bias::{BadWords, SequenceBias};
use decay::ExponentialDecay;
use force::{ForcedBos, ForcedEos, MinLength};
use ngram::{EncoderNoRepeatNgram, NoRepeatNgram};
use repetition::{EncoderRepetitionPenalty, RepetitionPenalty};
use seq2seq_core::LogitRule;
use suppress::{BeginSuppressTokens, SuppressTokens};

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
    /// The processors that the settings call for, in the order of transformers (PARITY trap 46).
    pub(super) fn new(config: &GenerationConfig, eos: &[u32], vocab: usize) -> Self {
        let mut book = Self::default();
        let penalty = |p: Option<f64>| p.filter(|&p| p != 1.0);
        let size = |n: Option<usize>| n.filter(|&n| n > 0);
        let ids = |ids: &Option<Vec<u32>>| ids.clone().filter(|ids| !ids.is_empty());
        if let Some(biases) = &config.sequence_bias {
            book.push(SequenceBias::new(biases));
        }
        if let Some(p) = penalty(config.encoder_repetition_penalty) {
            book.push(EncoderRepetitionPenalty::new(p));
        }
        if let Some(p) = penalty(config.repetition_penalty) {
            book.push(RepetitionPenalty { penalty: p as f32 });
        }
        if let Some(size) = size(config.no_repeat_ngram_size) {
            book.push(NoRepeatNgram { size });
        }
        if let Some(size) = size(config.encoder_no_repeat_ngram_size) {
            book.push(EncoderNoRepeatNgram { size });
        }
        if let Some(words) = &config.bad_words_ids {
            book.push(BadWords::new(words, eos));
        }
        if !eos.is_empty() && (size(config.min_length).or(size(config.min_new_tokens))).is_some() {
            book.push(MinLength { eos: eos.to_vec() });
        }
        if let Some(id) = config.forced_bos_token_id {
            book.push(ForcedBos(id));
        }
        if let Some(ids) = config.forced_eos_token_id.clone().filter(|ids| !ids.0.is_empty()) {
            book.push(ForcedEos(ids.0));
        }
        if let Some((start, factor)) = config.exponential_decay_length_penalty {
            book.push(ExponentialDecay { start, factor, eos: eos.to_vec() });
        }
        if let Some(ids) = ids(&config.suppress_tokens) {
            book.push(SuppressTokens::new(&ids, vocab));
        }
        if let Some(ids) = ids(&config.begin_suppress_tokens) {
            let forced_bos = config.forced_bos_token_id.is_some();
            book.push(BeginSuppressTokens { ids, forced_bos });
        }
        book
    }

    fn push(&mut self, processor: impl Processor + 'static) {
        self.processors.push(Box::new(processor));
    }

    /// Refills `out`, and the lists in it, with the rules of each hypothesis; leaves it empty where there is no processor.
    pub(super) fn fill<'a>(
        &self,
        views: impl Iterator<Item = View<'a>>,
        out: &mut Vec<Vec<LogitRule>>,
    ) {
        if self.processors.is_empty() {
            return out.clear();
        }
        let mut count = 0;
        for view in views {
            if out.len() == count {
                out.push(Vec::new());
            }
            let rules = &mut out[count];
            rules.clear();
            self.processors.iter().for_each(|p| p.rules(&view, rules));
            count += 1;
        }
        out.truncate(count);
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
        assert_eq!(out, [vec![banned.clone(), LogitRule::Only(vec![3])], vec![banned.clone()]]);
        book.fill([View { ids: &[0, 1], ..view }].into_iter(), &mut out);
        assert_eq!(out, [vec![banned]]);
    }
}
