//! The k best ids of each row.

use crate::kernels::choose::{Best, id};
use crate::kernels::log_softmax::Measure;
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

fn row(
    cpu: &Cpu,
    logits: &[f32],
    order: ScoreOrder,
    rules: &[LogitRule],
    (ids, scores): (&mut [u32], &mut [f32]),
) {
    let mut ruled = Buffer::scratch(if rules.is_empty() { 0 } else { logits.len() });
    // Without rules the log-softmax orders nothing anew: the logits decide, and only the chosen are normalised.
    let (row, normalise) = match (rules.is_empty(), order) {
        (true, _) => (logits, true),
        (false, order) => {
            ruled.copy_from_slice(logits);
            if order != ScoreOrder::RulesThenNormalise {
                dispatch(cpu.isa(), Measure(logits)).apply(&mut ruled);
            }
            rules::apply(rules, &mut ruled);
            (&ruled[..], order != ScoreOrder::NormaliseThenRules)
        }
    };
    let best = dispatch(cpu.isa(), Best { scores: row, k: ids.len() });
    let norm = normalise.then(|| dispatch(cpu.isa(), Measure(row)));
    for ((out, score), rank) in ids.iter_mut().zip(scores).zip(best.iter()) {
        *out = id(*rank);
        let chosen = row[*out as usize];
        *score = norm.map_or(chosen, |norm| norm.log_probability(chosen));
    }
}
