//! The ways back, the loss, dropout and the steps of the optimisers.

pub(crate) mod additive;
pub(crate) mod attention;
pub(crate) mod embed;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod muon;
pub(crate) mod norm;
pub(crate) mod optimiser;
pub(crate) mod recurrent;
pub(crate) mod windows;

use crate::memory::{Buffer, Tensor};
use crate::{Cuda, kernels};
use kernels::rows::View;
use seq2seq_core::train::{Gradient, Wanted};
use seq2seq_core::{Result, Rows};

/// Where a gradient is wanted, it becomes what `make` gives of what it was.
fn renew(
    wanted: Wanted<'_, Tensor>,
    make: impl FnOnce(Option<&Tensor>) -> Result<Tensor>,
) -> Result<()> {
    if let Some(gradient) = wanted {
        *gradient = Some(make(gradient.as_ref())?);
    }
    Ok(())
}

/// The gradient, begun with zeros where there is none, to be added to in place.
fn begun<'a>(
    cuda: &Cuda,
    gradient: &'a mut Gradient<Tensor>,
    [rows, width]: [usize; 2],
) -> Result<&'a mut Tensor> {
    if gradient.is_none() {
        *gradient = Some(zeros(cuda, rows, width)?);
    }
    Ok(gradient.as_mut().expect("it was just begun"))
}

/// A tensor of zeros.
pub(crate) fn zeros(cuda: &Cuda, rows: usize, width: usize) -> Result<Tensor> {
    Ok(Tensor::of(rows, width, Buffer::filled(cuda.pool(), rows * width, 0)?))
}

/// gradient += x
pub(crate) fn add(cuda: &Cuda, x: Tensor, gradient: &mut Gradient<Tensor>) -> Result<()> {
    match gradient {
        None => *gradient = Some(x),
        Some(held) => {
            let shape = [x.rows(), x.width()];
            seq2seq_core::backend::check::gradient("add", Some(&*held), shape)?;
            kernels::elementwise::add(cuda, x.values(), held.values_mut())?;
        }
    }
    Ok(())
}

/// Adds the sums of the columns of `x`, times `factor` where there is one, to a gradient `[1, width]`.
fn add_columns(
    cuda: &Cuda,
    x: View<'_>,
    factor: Option<&Buffer<f32>>,
    wanted: Wanted<'_, Tensor>,
) -> Result<()> {
    let Some(gradient) = wanted else { return Ok(()) };
    let accumulate = gradient.is_some();
    if gradient.is_none() {
        *gradient = Some(cuda.tensor(1, x.width)?);
    }
    let Some(held) = gradient else { return Ok(()) };
    Ok(kernels::elementwise::sum_columns(cuda, x, factor, accumulate, held.values_mut())?)
}
