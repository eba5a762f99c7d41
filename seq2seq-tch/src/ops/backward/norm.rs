//! LayerNorm and RMSNorm.

use super::{add_wanted, gradients, leaf, zeros};
use crate::fault::{Fault, Result};
use crate::ops::norm::{Norm, apply};
use crate::tensor::Shared;
use crate::{Tch, Tensor};
use seq2seq_core::Rows;
use seq2seq_core::backend::check;
use seq2seq_core::train::NormGradients;

/// Takes over other weights.
pub(crate) fn renew(norm: &mut Norm, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    check::renew_norm(norm.width(), weight, (norm.bias.is_some(), bias))?;
    let vector = |x: &Tensor| -> Result<Shared> { Ok(Shared::new(x.values().f_reshape([-1])?)) };
    norm.weight = vector(weight)?;
    norm.bias = bias.map(vector).transpose()?;
    Ok(())
}

pub(crate) fn backward(
    tch: &Tch,
    x: &Tensor,
    norm: &Norm,
    dy: &Tensor,
    wanted: NormGradients<'_, Tensor>,
) -> Result<()> {
    let width = norm.width();
    check::norm_backward(x, width, dy, &wanted)?;
    let shape = [x.rows(), x.width()];
    let runs = |t: &Tensor| tch.wide(t)?.f_reshape([-1, width as i64]).map_err(Fault::from);
    let x = leaf(&runs(x)?)?;
    let weight = leaf(&norm.weight.f_to_kind(tch.kind())?)?;
    let bias = leaf(&zeros(tch, 1, width)?)?;
    let y = apply((norm.kind, norm.eps), &x, &weight, None)?.f_add(&bias)?;
    let found = gradients(&y, &runs(dy)?, &[&x, &weight, &bias])?;
    add_wanted(tch, wanted.x, shape, &found[0])?;
    add_wanted(tch, wanted.weight, [1, width], &found[1])?;
    add_wanted(tch, wanted.bias, [1, width], &found[2])
}
