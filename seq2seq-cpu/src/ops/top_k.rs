//! The k best ids of each row.

use crate::kernels::choose::{Best, id, rank, score};
use crate::kernels::log_softmax::{Measure, MeasureFrom, Norm};
use crate::memory::{Buffer, Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::backend::check;
use seq2seq_core::{LogitRule, Result, Rows, ScoreOrder, TopK, reference::rules};

pub(crate) fn top_k(
    cpu: &Cpu,
    logits: &Tensor,
    k: usize,
    order: ScoreOrder,
    rule_lists: &[Vec<LogitRule>],
) -> Result<TopK> {
    check::top_k(logits, k, rule_lists)?;
    let count = logits.rows() * k;
    let mut out = TopK { k, ids: vec![0; count], scores: vec![0.0; count] };
    let parts = (Chunks::new(&mut out.ids, k), Chunks::new(&mut out.scores, k));
    cpu.threads().each_part(parts, 2 * logits.width(), |n, (ids, scores)| {
        let rules = rule_lists.get(n).map_or(&[][..], Vec::as_slice);
        row(cpu, logits.row(n), order, rules, (ids, scores));
    });
    Ok(out)
}

/// Beyond so many scores that rules change, the whole row is ruled.
const FEW: usize = 256;

/// The ids and scores of one row, best first.
type Chosen<'a> = (&'a mut [u32], &'a mut [f32]);

fn row(cpu: &Cpu, logits: &[f32], order: ScoreOrder, rules: &[LogitRule], chosen: Chosen<'_>) {
    if rules.is_empty() {
        return unruled(cpu, logits, chosen);
    }
    let changed = match order {
        ScoreOrder::NormaliseThenRules => changed(rules),
        _ => None,
    };
    match changed {
        Some(changed) => beside(cpu, logits, rules, &changed, chosen),
        None => ruled(cpu, logits, order, rules, chosen),
    }
}

/// Without rules the log-softmax orders nothing anew: the logits decide, and only the chosen are normalised.
fn unruled(cpu: &Cpu, logits: &[f32], chosen: Chosen<'_>) {
    let best = dispatch(cpu.isa(), Best { scores: logits, k: chosen.0.len() });
    let norm = measure(cpu, logits, &best);
    put(&best, |rank| norm.log_probability(logits[id(rank) as usize]), chosen);
}

/// Rules on the log-probabilities of `changed` ids alone: those, beside the best of all others, of which the logits decide. So
/// neither the log-softmax nor the rules pass over the row.
fn beside(cpu: &Cpu, logits: &[f32], rules: &[LogitRule], changed: &[u32], chosen: Chosen<'_>) {
    let k = (chosen.0.len() + changed.len()).min(logits.len());
    let best = dispatch(cpu.isa(), Best { scores: logits, k });
    let norm = measure(cpu, logits, &best);
    let log_probability = |id: u32| norm.log_probability(logits[id as usize]);
    // A row of which nothing but these scores is written or read.
    let mut ruled = Buffer::scratch(logits.len());
    changed.iter().for_each(|&id| ruled[id as usize] = log_probability(id));
    rules::apply(rules, &mut ruled);

    let others = best.iter().map(|&best| id(best)).filter(|id| changed.binary_search(id).is_err());
    let others = others.map(|id| rank(log_probability(id), id as usize));
    let changed = changed.iter().map(|&id| rank(ruled[id as usize], id as usize));
    let mut ranks: Vec<u64> = others.chain(changed).collect();
    ranks.sort_unstable();
    put(&ranks, score, chosen);
}

/// Rules that change much, or are followed by another log-softmax: every score is worked out.
fn ruled(cpu: &Cpu, logits: &[f32], order: ScoreOrder, rules: &[LogitRule], chosen: Chosen<'_>) {
    let mut ruled = Buffer::scratch(logits.len());
    ruled.copy_from_slice(logits);
    if order != ScoreOrder::RulesThenNormalise {
        dispatch(cpu.isa(), Measure(logits)).apply(&mut ruled);
    }
    rules::apply(rules, &mut ruled);
    let best = dispatch(cpu.isa(), Best { scores: &ruled, k: chosen.0.len() });
    if order == ScoreOrder::NormaliseThenRules {
        return put(&best, score, chosen);
    }
    let norm = measure(cpu, &ruled, &best);
    put(&best, |rank| norm.log_probability(ruled[id(rank) as usize]), chosen);
}

/// The norm of a row of which the best are known: the first of them is the largest score.
fn measure(cpu: &Cpu, scores: &[f32], best: &[u64]) -> Norm {
    dispatch(cpu.isa(), MeasureFrom { scores, largest: score(best[0]) })
}

/// The ids of the first ranks, and the scores that `score` makes of them.
fn put(ranks: &[u64], score: impl Fn(u64) -> f32, (ids, scores): Chosen<'_>) {
    for ((id, s), &rank) in ids.iter_mut().zip(scores).zip(ranks) {
        (*id, *s) = (self::id(rank), score(rank));
    }
}

/// The ids whose scores `rules` change, each once in rising order; none where that is all of them, or more than [`FEW`].
fn changed(rules: &[LogitRule]) -> Option<Vec<u32>> {
    let all = rules.iter().any(|rule| matches!(rule, LogitRule::Only(_)));
    if all || rules.iter().map(|rule| rule.ids().count()).sum::<usize>() > FEW {
        return None;
    }
    let mut ids: Vec<u32> = rules.iter().flat_map(LogitRule::ids).collect();
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}
