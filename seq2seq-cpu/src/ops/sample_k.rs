//! Drawing k ids a row without replacement: log-softmax, rules, warps, Gumbel noise, order.
//!
//! Noise is computed for what the warps leave only. It and the sums with it are f64, the same at every level.

use super::sample::{Candidates, has_distribution};
use crate::kernels::log_softmax::Measure;
use crate::memory::{Buffer, Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::backend::check;
use seq2seq_core::{
    LogitRule, Result, Rows, ScoreOrder, TopK, Warp, noise::gumbel, reference::rules,
};

pub(crate) fn sample_k(
    cpu: &Cpu,
    logits: &Tensor,
    k: usize,
    order: ScoreOrder,
    (rule_lists, seeds): (&[Vec<LogitRule>], &[u64]),
    warp: &Warp,
) -> Result<TopK> {
    check::sample_k(logits, k, rule_lists, warp, seeds)?;
    let count = logits.rows() * k;
    let mut out = TopK { k, ids: vec![0; count], scores: vec![f32::NAN; count] };
    let parts = (Chunks::new(&mut out.ids, k), Chunks::new(&mut out.scores, k));
    cpu.threads().each_part(parts, 8 * logits.width(), |n, (ids, scores)| {
        let rules = rule_lists.get(n).map_or(&[][..], Vec::as_slice);
        match candidates(cpu, logits.row(n), order, rules, warp) {
            Some(candidates) => draw(&candidates, seeds[n], logits.width(), (ids, scores)),
            None => ids.iter_mut().zip(0..).for_each(|(id, i)| *id = i),
        }
    });
    Ok(out)
}

/// What rules and warps leave of a row. None where a score is NaN or plus infinity.
fn candidates(
    cpu: &Cpu,
    logits: &[f32],
    order: ScoreOrder,
    rules: &[LogitRule],
    warp: &Warp,
) -> Option<Candidates> {
    let mut scores = Buffer::scratch(logits.len());
    scores.copy_from_slice(logits);
    if order != ScoreOrder::RulesThenNormalise {
        dispatch(cpu.isa(), Measure(logits)).apply(&mut scores);
    }
    rules::apply(rules, &mut scores);
    if !has_distribution(&scores) {
        return None;
    }
    let mut candidates = Candidates::new(cpu.isa(), scores, warp);
    if order != ScoreOrder::NormaliseThenRules {
        candidates.normalise();
    }
    Some(candidates)
}

/// The largest sums of score and noise; then ids of the `vocab` that are no candidates, in rising order.
fn draw(candidates: &Candidates, seed: u64, vocab: usize, (ids, scores): (&mut [u32], &mut [f32])) {
    let (all, all_scores) = (candidates.ids(), candidates.scores());
    let mut keys = Buffer::<f64>::scratch(all.len());
    let mut order = Buffer::<u32>::scratch(all.len());
    for (i, (key, place)) in keys.iter_mut().zip(order.iter_mut()).enumerate() {
        *key = f64::from(all_scores[i]) + gumbel(seed, all[i]);
        *place = i as u32;
    }
    let falling = |a: &u32, b: &u32| keys[*b as usize].total_cmp(&keys[*a as usize]).then(a.cmp(b));
    let drawn = ids.len().min(all.len());
    if drawn < all.len() {
        order.select_nth_unstable_by(drawn, falling);
    }
    order[..drawn].sort_unstable_by(falling);
    for (i, &place) in order[..drawn].iter().enumerate() {
        (ids[i], scores[i]) = (all[place as usize], all_scores[place as usize]);
    }
    let mut kept = all.iter().copied().peekable();
    let dropped = (0..vocab as u32).filter(|&id| kept.next_if_eq(&id).is_none());
    for (id, other) in ids[drawn..].iter_mut().zip(dropped) {
        *id = other;
    }
    scores[drawn..].fill(f32::NEG_INFINITY);
}
