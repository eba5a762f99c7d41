//! The k best ids of each row.
//!
//! Scores are f32 between the steps: the log-softmax rounds, and so does each rule. The order is by the scores that the
//! rules leave. In [`ScoreOrder::RulesThenNormalise`] these are logits, so the choice is exact on every backend.
//! Minus infinity stays minus infinity under log-softmax, also where every id of a row is banned.

use super::{Tensor, rules};
use crate::backend::check;
use crate::{LogitRule, Result, Rows, ScoreOrder, TopK};

/// ln Σ e^score, in f64; minus infinity where all scores are.
pub fn log_sum_exp(scores: &[f32]) -> f64 {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // All minus infinity, or NaN among them (which `max` passes over and the sum below would not).
    if largest == f32::NEG_INFINITY {
        let nan = scores.iter().any(|s| s.is_nan());
        return if nan { f64::NAN } else { f64::NEG_INFINITY };
    }
    let largest = f64::from(largest);
    largest + scores.iter().map(|&s| (f64::from(s) - largest).exp()).sum::<f64>().ln()
}

/// score - ln Σ e^score, rounded to f32.
pub fn log_softmax(scores: &mut [f32]) {
    let total = log_sum_exp(scores);
    for s in scores.iter_mut().filter(|s| **s != f32::NEG_INFINITY || total.is_nan()) {
        *s = (f64::from(*s) - total) as f32;
    }
}

/// Ids from the best score to the worst, equal ones in rising order; NaN first, as the largest.
pub fn ranking(scores: &[f32]) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..scores.len() as u32).collect();
    let key = |id: u32| {
        let s = scores[id as usize];
        // +0 equals -0; every NaN equals every other.
        if s.is_nan() { f32::NAN } else { s + 0.0 }
    };
    ids.sort_by(|&a, &b| key(b).total_cmp(&key(a)));
    ids
}

pub(super) fn top_k(
    logits: &Tensor,
    k: usize,
    order: ScoreOrder,
    rule_lists: &[Vec<LogitRule>],
) -> Result<TopK> {
    check::top_k(logits, k, rule_lists)?;
    let mut out = TopK { k, ..TopK::default() };
    for (n, row) in logits.iter().enumerate() {
        let mut scores = row.to_vec();
        if order != ScoreOrder::RulesThenNormalise {
            log_softmax(&mut scores);
        }
        rules::apply(rules::of(rule_lists, n), &mut scores);
        let best = &ranking(&scores)[..k];
        if order != ScoreOrder::NormaliseThenRules {
            log_softmax(&mut scores);
        }
        out.ids.extend(best);
        out.scores.extend(best.iter().map(|&id| scores[id as usize]));
    }
    debug_assert_eq!(out.ids.len(), logits.rows() * k);
    Ok(out)
}
