//! The k best ids of each row.

use crate::Cuda;
use crate::kernels::{
    best, best_merge,
    chosen::{Chosen, Words},
    rule_scores,
};
use crate::memory::{Buffer, Tensor};
use seq2seq_core::{Error, LogitRule, Result, Rows, ScoreOrder, TopK, backend::check};

/// Vocabularies that are larger than any.
pub(super) fn check_vocabulary(ids: usize) -> Result<()> {
    match ids <= best_merge::MOST_IDS {
        true => Ok(()),
        false => Err(Error::Unsupported {
            what: format!("a vocabulary of {ids} ids"),
            hint: format!("up to {} on this device", best_merge::MOST_IDS),
        }),
    }
}

/// The scores that rules leave of logits, or of their log-softmax where `order` has it first.
pub(super) fn ruled(
    cuda: &Cuda,
    logits: &Tensor,
    order: ScoreOrder,
    rules: &[Vec<LogitRule>],
) -> Result<Buffer<f32>> {
    let (values, vocab) = (logits.values(), logits.width());
    let sums = match order {
        ScoreOrder::RulesThenNormalise => None,
        _ => Some(best::best(cuda, values, vocab, 0)?),
    };
    Ok(rule_scores::apply(cuda, (values, vocab), sums.as_ref(), rules)?)
}

pub(crate) fn top_k(
    cuda: &Cuda,
    logits: &Tensor,
    k: usize,
    order: ScoreOrder,
    rules: &[Vec<LogitRule>],
) -> Result<TopK> {
    let Words { ids, scores, .. } = best(cuda, logits, k, order, rules, 0)?.download()?;
    Ok(TopK { k, ids, scores })
}

/// The same, without waiting for them; with room for `next` hypotheses that go on.
pub(super) fn best(
    cuda: &Cuda,
    logits: &Tensor,
    k: usize,
    order: ScoreOrder,
    rules: &[Vec<LogitRule>],
    next: usize,
) -> Result<Chosen> {
    check::top_k(logits, k, rules)?;
    check_vocabulary(logits.width())?;
    let vocab = logits.width();
    Ok(if rules.iter().all(Vec::is_empty) {
        // A log-softmax keeps the order: one pass over the logits finds the best and the sums.
        let found = best::best(cuda, logits.values(), vocab, k)?;
        best_merge::merge(cuda, (logits.values(), vocab), &found, true, next)?
    } else {
        let scores = ruled(cuda, logits, order, rules)?;
        let found = best::best(cuda, &scores, vocab, k)?;
        let normalise = order != ScoreOrder::NormaliseThenRules;
        best_merge::merge(cuda, (&scores, vocab), &found, normalise, next)?
    })
}
