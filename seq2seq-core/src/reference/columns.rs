//! Tensors put together from columns and from rows of others.

use super::Tensor;
use crate::backend::check;
use crate::{Part, Result};

pub(super) fn columns(parts: &[Part<'_, Tensor>]) -> Result<Tensor> {
    let [rows, width] = check::columns(parts)?;
    let row = |n| parts.iter().flat_map(move |p| &p.tensor.row(n)[p.columns.clone()]);
    Ok(Tensor::new(rows, width, (0..rows).flat_map(row).copied().collect()))
}

pub(super) fn stack_rows(parts: &[&Tensor]) -> Result<Tensor> {
    let [rows, width] = check::stack_rows(parts)?;
    let values = parts.iter().flat_map(|part| &part.values).copied().collect();
    Ok(Tensor::new(rows, width, values))
}
