//! Back through additive attention.

use super::{add_columns, renew};
use crate::kernels::additive_back::Back;
use crate::kernels::rows::View;
use crate::memory::Tensor;
use crate::{Additive, AdditiveMemory, Cuda};
use seq2seq_core::backend::check;
use seq2seq_core::train::{AdditiveBackward, AdditiveGradients, Gradient};
use seq2seq_core::{Result, Rows};

/// Takes over a vector that has changed.
pub(crate) fn renew_v(held: &mut Additive, v: &Tensor) -> Result<()> {
    let width = held.v().len();
    check::renew_additive(width, v)?;
    Ok(held.v_mut().copy_from(0, v.values(), 0, width)?)
}

/// A gradient to be written, or added to.
fn target<'a>(
    cuda: &Cuda,
    gradient: Option<&'a mut Gradient<Tensor>>,
    like: &Tensor,
) -> Result<Option<(&'a mut Tensor, bool)>> {
    let Some(gradient) = gradient else { return Ok(None) };
    let held = gradient.is_some();
    if !held {
        *gradient = Some(cuda.tensor(like.rows(), like.width())?);
    }
    Ok(gradient.as_mut().map(|tensor| (tensor, held)))
}

pub(crate) fn backward(
    cuda: &Cuda,
    of: &AdditiveBackward<'_, Tensor, Additive, AdditiveMemory>,
    gradients: AdditiveGradients<'_, Tensor>,
) -> Result<()> {
    let operands = of.memory.operands(of.v);
    let (keys, values, rows) = (operands.keys, operands.values, of.memory.rows());
    let sizes = (rows.sequences(), rows.longest());
    check::additive_attend_backward(of, of.v.v().len(), (keys, values), sizes, &gradients)?;
    let (sources, spans) = of.memory.spans(of.rows, of.sources);
    let back = Back { q: of.q, operands, p: of.weights, dy: of.dy, spans: &spans };
    let ds = back.scores(cuda)?;
    let shares = back.query(cuda, &ds, target(cuda, gradients.q, of.q)?)?;
    add_columns(cuda, View::of(&shares), None, gradients.v)?;
    let targets = [target(cuda, gradients.keys, keys)?, target(cuda, gradients.values, values)?];
    Ok(back.memory(cuda, &ds, (rows, &sources), targets)?)
}

/// Adds columns of `dy` to some of a part that is `width` wide.
pub(crate) fn columns(
    cuda: &Cuda,
    dy: &Tensor,
    from: usize,
    (width, columns): (usize, std::ops::Range<usize>),
    gradient: &mut Gradient<Tensor>,
) -> Result<()> {
    check::columns_backward(dy, from, (width, &columns), gradient)?;
    let mut part = super::zeros(cuda, dy.rows(), width)?;
    let source = from..from + columns.len();
    crate::kernels::columns::copy(cuda, dy, source, &mut part, columns.start)?;
    super::add(cuda, part, gradient)
}

/// Adds rows of `dy` to those of a part.
pub(crate) fn stack_rows(
    cuda: &Cuda,
    dy: &Tensor,
    rows: std::ops::Range<usize>,
    gradient: &mut Gradient<Tensor>,
) -> Result<()> {
    check::stack_rows_backward(dy, &rows, gradient)?;
    let width = dy.width();
    renew(Some(gradient), |before| {
        let mut part = cuda.tensor(rows.len(), width)?;
        part.values_mut().copy_from(0, dy.values(), rows.start * width, rows.len() * width)?;
        if let Some(before) = before {
            crate::kernels::elementwise::add(cuda, before.values(), part.values_mut())?;
        }
        Ok(part)
    })
}
