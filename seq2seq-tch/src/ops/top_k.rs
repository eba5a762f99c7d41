//! The k best ids of each row.

use crate::fault::Result;
use crate::tensor::{from_slice, to_host};
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::reference::rules;
use seq2seq_core::{LogitRule, Rows, ScoreOrder, TopK};
use tch::Kind;

/// log-softmax of rows of f32, rounded to f32; minus infinity for all where all are.
fn normalise(tch: &Tch, scores: &tch::Tensor) -> Result<tch::Tensor> {
    let normalised =
        scores.f_to_kind(tch.kind())?.f_log_softmax(-1, None)?.f_to_kind(Kind::Float)?;
    let nothing = scores.f_amax([1], true)?.f_eq(f64::NEG_INFINITY)?;
    Ok(normalised.f_masked_fill(&nothing, f64::NEG_INFINITY)?)
}

/// The rules are few changes to single scores, each of which rounds as core defines it: the host makes them.
fn change(tch: &Tch, scores: tch::Tensor, rule_lists: &[Vec<LogitRule>]) -> Result<tch::Tensor> {
    if rule_lists.iter().all(Vec::is_empty) {
        return Ok(scores);
    }
    let width = scores.size()[1] as usize;
    let mut values = to_host(&scores)?;
    values.chunks_mut(width).zip(rule_lists).for_each(|(row, list)| rules::apply(list, row));
    from_slice(&values, &[rule_lists.len(), width], tch.device())
}

pub(crate) fn top_k(
    tch: &Tch,
    logits: &Tensor,
    k: usize,
    order: ScoreOrder,
    rule_lists: &[Vec<LogitRule>],
) -> Result<TopK> {
    check::top_k(logits, k, rule_lists)?;
    if logits.rows() == 0 {
        return Ok(TopK { k, ..TopK::default() });
    }
    let mut scores = logits.values().shallow_clone();
    if order != ScoreOrder::RulesThenNormalise {
        scores = normalise(tch, &scores)?;
    }
    scores = change(tch, scores, rule_lists)?;
    // Stable, so that equal scores stand in rising order of id; NaN is the largest.
    let (_, ids) = scores.f_sort_stable(true, -1, true)?;
    let ids = ids.f_narrow(1, 0, k as i64)?;
    if order != ScoreOrder::NormaliseThenRules {
        scores = normalise(tch, &scores)?;
    }
    let best = to_host(&scores.f_gather(1, &ids, false)?)?;
    let mut chosen = vec![0i64; logits.rows() * k];
    let ids = ids.f_contiguous()?.f_to_device(tch::Device::Cpu)?;
    ids.f_copy_data(&mut chosen, logits.rows() * k)?;
    Ok(TopK { k, ids: chosen.into_iter().map(|id| id as u32).collect(), scores: best })
}
