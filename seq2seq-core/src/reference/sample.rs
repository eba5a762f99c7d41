//! Drawing one id a row: rules, warps, softmax, inverse of the cumulative distribution.
//!
//! The warps are those of transformers; `min_keep` is its `min_tokens_to_keep`. Each looks at the softmax of the scores that the
//! one before left, and sets what it drops to minus infinity. Scores are f32, probabilities and their sums f64.

use super::{Tensor, rules, top_k::log_softmax, top_k::ranking};
use crate::backend::check;
use crate::{LogitRule, Result, Rows, Sampled, Warp};

/// Applies `warp` to the scores of one row.
///
/// ```
/// use seq2seq_core::{Warp, reference::sample::apply};
///
/// let mut scores = [4.0, 2.0, 0.0];
/// apply(&Warp { temperature: 2.0, top_k: 2, ..Warp::default() }, &mut scores);
/// assert_eq!(scores, [2.0, 1.0, f32::NEG_INFINITY]);
/// ```
pub fn apply(warp: &Warp, scores: &mut [f32]) {
    let keep = warp.min_keep.min(scores.len());
    scores.iter_mut().for_each(|s| *s /= warp.temperature);
    if warp.top_k > 0 {
        top_k(warp.top_k.max(keep), scores);
    }
    if warp.top_p < 1.0 {
        top_p(f64::from(warp.top_p), keep, scores);
    }
    if warp.min_p > 0.0 {
        min_p(f64::from(warp.min_p), keep, scores);
    }
    if warp.typical_p < 1.0 {
        typical(f64::from(warp.typical_p), keep, scores);
    }
    if warp.epsilon_cutoff > 0.0 {
        cutoff(f64::from(warp.epsilon_cutoff), keep, scores);
    }
    if warp.eta_cutoff > 0.0 {
        let eta = f64::from(warp.eta_cutoff);
        let entropy = entropy(&log_softmax(scores));
        cutoff(eta.min(eta.sqrt() * (-entropy).exp()), keep, scores);
    }
}

/// -Σ p ln p in nats; an impossible id adds nothing.
fn entropy(log_p: &[f64]) -> f64 {
    -log_p.iter().filter(|l| **l > f64::NEG_INFINITY).map(|l| l * l.exp()).sum::<f64>()
}

fn drop_where(scores: &mut [f32], drop: impl Fn(usize, f32) -> bool) {
    for (id, s) in scores.iter_mut().enumerate() {
        if drop(id, *s) {
            *s = f32::NEG_INFINITY;
        }
    }
}

/// Drops what is below the k-th best; keeps its equals.
fn top_k(k: usize, scores: &mut [f32]) {
    let kth = scores[ranking(scores)[k.min(scores.len()) - 1] as usize];
    drop_where(scores, |_, s| s < kth);
}

/// From the least probable upwards, drops ids while the sum of their probabilities is at most 1 - p, except the last
/// `keep`. Of equal scores, lower ids go first.
fn top_p(p: f64, keep: usize, scores: &mut [f32]) {
    let log_p = log_softmax(scores);
    let mut rising: Vec<usize> = (0..scores.len()).collect();
    // Adding 0 makes -0 equal to 0.
    rising.sort_by(|&a, &b| (scores[a] + 0.0).total_cmp(&(scores[b] + 0.0)));
    let mut sum = 0.0;
    rising.truncate(scores.len() - keep);
    for id in rising {
        sum += log_p[id].exp();
        if sum > 1.0 - p {
            break;
        }
        scores[id] = f32::NEG_INFINITY;
    }
}

/// Drops probabilities below `share` of the largest, but never the best `keep`.
fn min_p(share: f64, keep: usize, scores: &mut [f32]) {
    let log_p = log_softmax(scores);
    let largest = log_p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let best = &ranking(scores)[..keep];
    let low = |id: usize| log_p[id].exp() < share * largest.exp();
    drop_where(scores, |id, _| low(id) && !best.contains(&(id as u32)));
}

/// Orders ids by |-ln p - entropy| and keeps the shortest run whose mass reaches `mass`, with all that tie with its
/// last, and at least the first `keep`.
fn typical(mass: f64, keep: usize, scores: &mut [f32]) {
    let log_p = log_softmax(scores);
    let entropy = entropy(&log_p);
    let shift: Vec<f64> = log_p.iter().map(|l| (-l - entropy).abs()).collect();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| shift[a].total_cmp(&shift[b]));
    let mut sum = 0.0;
    let reached = order.iter().position(|&id| {
        sum += log_p[id].exp();
        sum >= mass
    });
    let last = shift[order[reached.unwrap_or(order.len() - 1)]];
    drop_where(scores, |id, _| shift[id] > last && !order[..keep].contains(&id));
}

/// Drops probabilities below `least`, but never the `keep` best scores and their equals.
fn cutoff(least: f64, keep: usize, scores: &mut [f32]) {
    let log_p = log_softmax(scores);
    let kept = scores[ranking(scores)[keep - 1] as usize];
    drop_where(scores, |id, s| log_p[id].exp() < least && s < kept);
}

/// The first id, in rising order, at which the cumulative probability exceeds `uniform`, and its log-probability.
/// Where rounding keeps the sum from exceeding it, the last id that is possible. None where there is no distribution.
///
/// ```
/// use seq2seq_core::reference::sample::draw;
///
/// // Probabilities of 1/4, 0 and 3/4.
/// let scores = [0.25f32.ln(), f32::NEG_INFINITY, 0.75f32.ln()];
/// let id = |uniform| draw(&scores, uniform).map(|(id, _)| id);
/// assert_eq!([0.0, 0.2, 0.3, 0.999].map(id), [Some(0), Some(0), Some(2), Some(2)]);
/// assert_eq!(draw(&[f32::NEG_INFINITY; 2], 0.5), None);
/// ```
pub fn draw(scores: &[f32], uniform: f64) -> Option<(u32, f32)> {
    let log_p = log_softmax(scores);
    let mut sum = 0.0;
    let mut last = None;
    for (id, l) in log_p.iter().enumerate() {
        let p = l.exp();
        if p.is_nan() {
            return None;
        }
        sum += p;
        if p > 0.0 {
            last = Some((id as u32, *l as f32));
        }
        if sum > uniform {
            break;
        }
    }
    last
}

pub(super) fn sample(
    logits: &Tensor,
    rule_lists: &[Vec<LogitRule>],
    warp: &Warp,
    uniforms: &[f32],
) -> Result<Sampled> {
    check::sample(logits, rule_lists, warp, uniforms)?;
    let mut out = Sampled::default();
    for (n, row) in logits.iter().enumerate() {
        let mut scores = row.to_vec();
        rules::apply(rules::of(rule_lists, n), &mut scores);
        // Decided before the warps, which order scores and must not meet NaN.
        let draw = match has_distribution(&scores) {
            true => {
                apply(warp, &mut scores);
                draw(&scores, f64::from(uniforms[n]))
            }
            false => None,
        };
        let (id, score) = draw.ok_or_else(|| check::nothing_to_draw(n))?;
        out.ids.push(id);
        out.scores.push(score);
    }
    debug_assert_eq!(out.ids.len(), logits.rows());
    Ok(out)
}

/// Whether some score is finite and none is NaN or plus infinity.
fn has_distribution(scores: &[f32]) -> bool {
    let good = |s: &f32| *s < f32::INFINITY;
    scores.iter().all(good) && scores.iter().any(|s| *s > f32::NEG_INFINITY)
}
