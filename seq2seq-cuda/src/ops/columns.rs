//! Tensors put together from columns and from rows of others.

use crate::memory::Tensor;
use crate::{Cuda, kernels};
use seq2seq_core::{Part, Result, backend::check};

pub(crate) fn columns(cuda: &Cuda, parts: &[Part<'_, Tensor>]) -> Result<Tensor> {
    let [rows, width] = check::columns(parts)?;
    let mut y = cuda.tensor(rows, width)?;
    let mut to = 0;
    for part in parts {
        kernels::columns::copy(cuda, part.tensor, part.columns.clone(), &mut y, to)?;
        to += part.columns.len();
    }
    Ok(y)
}

pub(crate) fn stack_rows(cuda: &Cuda, parts: &[&Tensor]) -> Result<Tensor> {
    let [rows, width] = check::stack_rows(parts)?;
    let mut y = cuda.tensor(rows, width)?;
    let mut at = 0;
    for part in parts {
        let count = part.values().len();
        y.values_mut().copy_from(at, part.values(), 0, count)?;
        at += count;
    }
    Ok(y)
}
