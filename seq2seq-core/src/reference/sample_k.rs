//! Drawing k ids a row without replacement: log-softmax, rules, warps, Gumbel noise, order.
//!
//! Scores are f32 between the steps, as in `top_k`; the noise and the sums with it are f64.

use super::{Tensor, rules, sample, top_k::normalise};
use crate::backend::check;
use crate::noise::gumbel;
use crate::{LogitRule, Result, Rows, ScoreOrder, TopK, Warp};

/// The scores of one row that noise is added to; all NaN where one is NaN or plus infinity before the warp.
///
/// ```
/// use seq2seq_core::{LogitRule, ScoreOrder, Warp, reference::sample_k::scores};
///
/// let warp = Warp { top_k: 2, ..Warp::default() };
/// let scores = scores(&[0.0, 0.0, 0.0, -9.0], ScoreOrder::RulesThenNormalise, &[LogitRule::Ban(vec![0])], &warp);
/// // One is banned, one is not among the best two; what the others are drawn by sums to one.
/// assert_eq!(scores, [f32::NEG_INFINITY, 0.5f32.ln(), 0.5f32.ln(), f32::NEG_INFINITY]);
/// ```
pub fn scores(logits: &[f32], order: ScoreOrder, rule_list: &[LogitRule], warp: &Warp) -> Vec<f32> {
    let mut scores = logits.to_vec();
    if order != ScoreOrder::RulesThenNormalise {
        normalise(&mut scores);
    }
    rules::apply(rule_list, &mut scores);
    if !scores.iter().all(|s| *s < f32::INFINITY) {
        return vec![f32::NAN; scores.len()];
    }
    // A row of minus infinity has no distribution to warp.
    if scores.iter().any(|s| *s > f32::NEG_INFINITY) {
        sample::apply(warp, &mut scores);
    }
    if order != ScoreOrder::NormaliseThenRules {
        normalise(&mut scores);
    }
    scores
}

/// Ids from the largest sum of score and noise to the smallest, equal ones in rising order.
///
/// ```
/// use seq2seq_core::reference::sample_k::draws;
///
/// // The first of the draws is one draw by the probabilities; none comes twice.
/// let scores = [0.1f32, 0.2, 0.7].map(f32::ln);
/// let first = (0..2000).filter(|&seed| draws(&scores, seed)[0] == 2).count();
/// assert!((1340..1460).contains(&first), "{first} of 2000");
/// let mut ids = draws(&scores, 1);
/// ids.sort_unstable();
/// assert_eq!(ids, [0, 1, 2]);
/// ```
pub fn draws(scores: &[f32], seed: u64) -> Vec<u32> {
    let noisy = |(id, &s): (u32, &f32)| f64::from(s) + gumbel(seed, id);
    let keys: Vec<f64> = (0..).zip(scores).map(noisy).collect();
    let mut ids: Vec<u32> = (0..scores.len() as u32).collect();
    ids.sort_by(|&a, &b| keys[b as usize].total_cmp(&keys[a as usize]));
    ids
}

pub(super) fn sample_k(
    logits: &Tensor,
    k: usize,
    order: ScoreOrder,
    rule_lists: &[Vec<LogitRule>],
    warp: &Warp,
    seeds: &[u64],
) -> Result<TopK> {
    check::sample_k(logits, k, rule_lists, warp, seeds)?;
    let mut out = TopK { k, ..TopK::default() };
    for (n, row) in logits.iter().enumerate() {
        let scores = scores(row, order, rules::of(rule_lists, n), warp);
        let mut ids = draws(&scores, seeds[n]);
        ids.truncate(k);
        out.scores.extend(ids.iter().map(|&id| scores[id as usize]));
        out.ids.extend(ids);
    }
    debug_assert_eq!(out.ids.len(), logits.rows() * k);
    Ok(out)
}
