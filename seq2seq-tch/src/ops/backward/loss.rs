//! Cross-entropy with its gradient.

use crate::fault::Result;
use crate::tensor::{from_slice, indices};
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::{Loss, Smoothing};
use tch::Kind;

pub(crate) fn cross_entropy(
    tch: &Tch,
    logits: &Tensor,
    targets: &[Option<u32>],
    smoothing: Smoothing,
) -> Result<(Loss, Tensor)> {
    check::cross_entropy(logits, targets, smoothing)?;
    let [rows, width] = logits.shape();
    if rows == 0 {
        let none = Tensor::new(rows, width, logits.values().shallow_clone())?;
        return Ok((Loss::default(), none));
    }
    let (a, b) = smoothing.weights(width);
    let (values, device) = (tch.wide(logits)?, tch.device());
    let there: Vec<f32> = targets.iter().map(|t| f32::from(t.is_some())).collect();
    let there = from_slice(&there, &[rows], device)?.f_to_kind(Kind::Bool)?;
    let none = there.f_logical_not()?;
    let target = indices(targets.iter().map(|t| t.unwrap_or(0) as usize), device)?;
    let target = target.f_unsqueeze(1)?;
    let log_p = values.f_log_softmax(-1, None)?;
    let sum_of = |x: &tch::Tensor| -> Result<f64> {
        let x = x.f_masked_fill(&none, 0.0)?.f_to_kind(Kind::Double)?;
        Ok(f64::try_from(x.f_sum(None)?)?)
    };
    let nll = sum_of(&log_p.f_gather(1, &target, false)?.f_squeeze_dim(1)?.f_neg()?)?;
    // Without smoothing an impossible id is no matter.
    let rest = match b == 0.0 {
        true => 0.0,
        false => -b * sum_of(&log_p.f_sum_dim_intlist([1i64].as_slice(), false, None)?)?,
    };
    let scores = logits.values();
    let own = scores.f_gather(1, &target, false)?;
    // The first id that is no worse than the target is the target, and none is better.
    let ids = tch::Tensor::f_arange(width as i64, (Kind::Int64, device))?;
    let first = ids.f_expand([rows as i64, width as i64], false)?;
    let first = first.f_masked_fill(&scores.f_lt_tensor(&own)?, width as f64)?.f_amin([1], true)?;
    let best = scores.f_amax([1], true)?.f_eq_tensor(&own)?;
    let correct = first.f_eq_tensor(&target)?.f_logical_and(&best)?.f_squeeze_dim(1)?;
    let loss = Loss {
        sum: a * nll + rest,
        nll,
        tokens: targets.iter().flatten().count(),
        correct: sum_of(&correct)? as usize,
    };
    let less = values.f_zeros_like()?.f_scatter_value(1, &target, a)?.f_add_scalar(b)?;
    let gradient = values.f_softmax(-1, None)?.f_sub(&less)?;
    let gradient = gradient.f_masked_fill(&none.f_unsqueeze(1)?, 0.0)?;
    Ok((loss, Tensor::new(rows, width, gradient)?))
}
