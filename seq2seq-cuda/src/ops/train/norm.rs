//! Back through normalisations.

use super::add_columns;
use crate::kernels::norm_back;
use crate::kernels::rows::View;
use crate::memory::Tensor;
use crate::{Cuda, Norm};
use seq2seq_core::backend::check;
use seq2seq_core::train::NormGradients;
use seq2seq_core::{Result, Rows};

/// Takes over other weights.
pub(crate) fn renew(norm: &mut Norm, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let width = norm.weight.len();
    check::renew_norm(width, weight, (norm.bias.is_some(), bias))?;
    norm.weight.copy_from(0, weight.values(), 0, width)?;
    if let (Some(held), Some(bias)) = (&mut norm.bias, bias) {
        held.copy_from(0, bias.values(), 0, width)?;
    }
    Ok(())
}

pub(crate) fn backward(
    cuda: &Cuda,
    x: &Tensor,
    norm: &Norm,
    dy: &Tensor,
    gradients: NormGradients<'_, Tensor>,
) -> Result<()> {
    let runs = check::norm_backward(x, norm.weight.len(), dy, &gradients)?;
    let (rows, width) = (x.rows(), x.width());
    let mut hat = cuda.tensor(rows, width)?;
    match gradients.x {
        None => norm_back::back(cuda, (x, dy), norm, &mut hat, (None, false))?,
        Some(dx) => {
            let accumulate = dx.is_some();
            if dx.is_none() {
                *dx = Some(cuda.tensor(rows, width)?);
            }
            norm_back::back(cuda, (x, dy), norm, &mut hat, (dx.as_mut(), accumulate))?;
        }
    }
    let dy = View::rows(dy.values(), runs, norm.weight.len());
    add_columns(cuda, dy, Some(hat.values()), gradients.weight)?;
    add_columns(cuda, dy, None, gradients.bias)
}
