//! Drawing one id a row.

use super::top_k::{check_vocabulary, ruled};
use crate::Cuda;
use crate::kernels;
use crate::memory::Tensor;
use seq2seq_core::{LogitRule, Result, Rows, Sampled, ScoreOrder, Warp, backend::check};

pub(crate) fn sample(
    cuda: &Cuda,
    logits: &Tensor,
    (rules, uniforms): (&[Vec<LogitRule>], &[f32]),
    warp: &Warp,
) -> Result<Sampled> {
    check::sample(logits, rules, warp, uniforms)?;
    check_vocabulary(logits.width())?;
    if logits.rows() == 0 {
        return Ok(Sampled::default());
    }
    let scores = ruled(cuda, logits, ScoreOrder::RulesThenNormalise, rules)?;
    let chosen = kernels::sample::sample(cuda, (scores, logits.width()), warp, uniforms)?;
    let (ids, scores) = chosen.download()?;
    match ids.iter().position(|&id| id == kernels::sample::NOTHING) {
        None => Ok(Sampled { ids, scores }),
        Some(row) => Err(check::nothing_to_draw(row)),
    }
}
