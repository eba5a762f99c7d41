//! The ways back: libtorch's own autograd over the forwards, or the formula where it is shorter.

pub(crate) mod additive;
pub(crate) mod attention;
pub(crate) mod embed;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod norm;
pub(crate) mod optimiser;
pub(crate) mod pool;
pub(crate) mod recurrent;
pub(crate) mod windows;

use crate::fault::Result;
use crate::ops::factors;
use crate::{Tch, Tensor};
use seq2seq_core::train::{Dropout, Gradient, Wanted};

/// A value that gradients are asked of.
pub(crate) fn leaf(x: &tch::Tensor) -> Result<tch::Tensor> {
    Ok(x.f_detach()?.f_set_requires_grad(true)?)
}

/// The gradients of Σ y dy of each leaf.
pub(crate) fn gradients(
    y: &tch::Tensor,
    dy: &tch::Tensor,
    leaves: &[&tch::Tensor],
) -> Result<Vec<tch::Tensor>> {
    let mut sum = y.f_mul(dy)?.f_sum(None)?;
    for leaf in leaves {
        // No elements of it: a leaf that nothing was made of has the gradient 0, not an error.
        sum = sum.f_add(&leaf.f_flatten(0, -1)?.f_narrow(0, 0, 0)?.f_sum(None)?)?;
    }
    Ok(tch::Tensor::f_run_backward(&[sum], leaves, false, false)?)
}

/// gradient += values, rounded once.
pub(crate) fn add(
    tch: &Tch,
    gradient: &mut Gradient<Tensor>,
    [rows, width]: [usize; 2],
    values: &tch::Tensor,
) -> Result<()> {
    let values = values.f_to_kind(tch.kind())?.f_reshape([rows as i64, width as i64])?;
    let sum = match gradient {
        Some(held) => tch.wide(held)?.f_add(&values)?,
        None => values,
    };
    *gradient = Some(Tensor::new(rows, width, sum)?);
    Ok(())
}

/// The same where it is wanted.
pub(crate) fn add_wanted(
    tch: &Tch,
    wanted: Wanted<'_, Tensor>,
    shape: [usize; 2],
    values: &tch::Tensor,
) -> Result<()> {
    match wanted {
        Some(gradient) => add(tch, gradient, shape, values),
        None => Ok(()),
    }
}

/// `x` after dropout.
pub(crate) fn dropped(
    tch: &Tch,
    x: tch::Tensor,
    dropout: Option<Dropout>,
    shape: [usize; 2],
) -> Result<tch::Tensor> {
    match dropout {
        Some(dropout) => Ok(x.f_mul(&factors(tch, dropout, 0..shape[0], shape[1])?)?),
        None => Ok(x),
    }
}

/// A tensor of zeros.
pub(crate) fn zeros(tch: &Tch, rows: usize, width: usize) -> Result<tch::Tensor> {
    let options = (tch.kind(), tch.device());
    Ok(tch::Tensor::f_zeros([rows as i64, width as i64], options)?)
}

/// Values rounded to bf16 where `bf16`.
pub(crate) fn rounded(tch: &Tch, x: &tch::Tensor, bf16: bool) -> Result<tch::Tensor> {
    match bf16 {
        // From f32, as two roundings of f64 may go another way.
        true => Ok(x
            .f_to_kind(tch::Kind::Float)?
            .f_to_kind(tch::Kind::BFloat16)?
            .f_to_kind(tch.kind())?),
        false => Ok(x.shallow_clone()),
    }
}
