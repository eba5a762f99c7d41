//! Drawing one id a row.

use super::top_k::{check_vocabulary, ruled};
use crate::Cuda;
use crate::kernels::chosen::{Chosen, Words};
use crate::memory::Tensor;
use seq2seq_core::{LogitRule, Result, Rows, Sampled, ScoreOrder, Warp, backend::check};

pub(crate) fn sample(
    cuda: &Cuda,
    logits: &Tensor,
    (rules, uniforms): (&[Vec<LogitRule>], &[f32]),
    warp: &Warp,
) -> Result<Sampled> {
    drawn(draw(cuda, logits, (rules, uniforms), warp)?.download()?)
}

/// The same, without waiting for them.
pub(super) fn draw(
    cuda: &Cuda,
    logits: &Tensor,
    (rules, uniforms): (&[Vec<LogitRule>], &[f32]),
    warp: &Warp,
) -> Result<Chosen> {
    check::sample(logits, rules, warp, uniforms)?;
    check_vocabulary(logits.width())?;
    let scores = ruled(cuda, logits, ScoreOrder::RulesThenNormalise, rules)?;
    Ok(crate::kernels::sample::sample(cuda, (scores, logits.width()), warp, uniforms)?)
}

/// What was drawn, or the error for the first row without a distribution.
pub(super) fn drawn(Words { ids, scores, .. }: Words) -> Result<Sampled> {
    match scores.iter().position(|score| score.is_nan()) {
        None => Ok(Sampled { ids, scores }),
        Some(row) => Err(check::nothing_to_draw(row)),
    }
}
