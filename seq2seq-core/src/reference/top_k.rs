//! The k best ids of each row.
//!
//! Scores are f32 between the steps: the log-softmax rounds, and so does each rule. The order is by the scores that the
//! rules leave. In [`ScoreOrder::RulesThenNormalise`] these are logits, so the choice is exact on every backend.
//! Minus infinity stays minus infinity under log-softmax, also where every id of a row is banned.

use super::{Tensor, rules};
use crate::backend::check;
use crate::{LogitRule, Result, Rows, ScoreOrder, TopK};

/// (score - largest) - ln Σ e^(score - largest), in f64; minus infinity for all where all are. One NaN makes all NaN.
///
/// Subtracting the largest first keeps large scores apart: 1e30 beside 1e30 has probability 1/2.
///
/// ```
/// use seq2seq_core::reference::top_k::log_softmax;
///
/// assert_eq!(log_softmax(&[1e30, 1e30]), [-2f64.ln(); 2]);
/// assert_eq!(log_softmax(&[0.0, f32::NEG_INFINITY]), [0.0, f64::NEG_INFINITY]);
/// assert!(log_softmax(&[0.0, f32::NAN]).iter().all(|l| l.is_nan()));
/// ```
pub fn log_softmax(scores: &[f32]) -> Vec<f64> {
    let scores = scores.iter().map(|&s| f64::from(s));
    if scores.clone().any(f64::is_nan) {
        return scores.map(|_| f64::NAN).collect();
    }
    let largest = scores.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return scores.collect();
    }
    let total = scores.clone().map(|s| (s - largest).exp()).sum::<f64>().ln();
    scores.map(|s| s - largest - total).collect()
}

pub(super) fn normalise(scores: &mut [f32]) {
    let normalised = log_softmax(scores);
    scores.iter_mut().zip(normalised).for_each(|(s, l)| *s = l as f32);
}

/// Ids from the best score to the worst, equal ones in rising order; NaN first, as the largest.
///
/// ```
/// use seq2seq_core::reference::top_k::ranking;
///
/// assert_eq!(ranking(&[1.0, 3.0, -0.0, 3.0, 0.0]), [1, 3, 0, 2, 4]);
/// ```
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
            normalise(&mut scores);
        }
        rules::apply(rules::of(rule_lists, n), &mut scores);
        let best = &ranking(&scores)[..k];
        if order != ScoreOrder::NormaliseThenRules {
            normalise(&mut scores);
        }
        out.ids.extend(best);
        out.scores.extend(best.iter().map(|&id| scores[id as usize]));
    }
    debug_assert_eq!(out.ids.len(), logits.rows() * k);
    Ok(out)
}
