//! Drawing k ids a row without replacement.

use super::top_k::{check_vocabulary, ruled};
use crate::Cuda;
use crate::kernels::{self, chosen::Words};
use crate::memory::Tensor;
use seq2seq_core::{LogitRule, Result, Rows, ScoreOrder, TopK, Warp, backend::check};

pub(crate) fn sample_k(
    cuda: &Cuda,
    logits: &Tensor,
    (k, order): (usize, ScoreOrder),
    (rules, seeds): (&[Vec<LogitRule>], &[u64]),
    warp: &Warp,
) -> Result<TopK> {
    check::sample_k(logits, k, rules, warp, seeds)?;
    check_vocabulary(logits.width())?;
    if logits.rows() == 0 {
        return Ok(TopK { k, ..TopK::default() });
    }
    let scores = ruled(cuda, logits, order, rules)?;
    let normalise = order != ScoreOrder::NormaliseThenRules;
    let chosen =
        kernels::sample_k::sample_k(cuda, (scores, logits.width()), (k, normalise), warp, seeds)?;
    let Words { ids, scores, .. } = chosen.download()?;
    Ok(TopK { k, ids, scores })
}
