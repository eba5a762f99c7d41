//! Tensors put together from columns and from rows of others.

use crate::Tensor;
use crate::fault::Result;
use seq2seq_core::Part;
use seq2seq_core::backend::check;

pub(crate) fn columns(parts: &[Part<'_, Tensor>]) -> Result<Tensor> {
    let [rows, width] = check::columns(parts)?;
    let part = |p: &Part<'_, Tensor>| {
        p.tensor.values().f_narrow(1, p.columns.start as i64, p.columns.len() as i64)
    };
    let parts = parts.iter().map(part).collect::<Result<Vec<_>, _>>()?;
    Tensor::new(rows, width, tch::Tensor::f_cat(&parts, 1)?)
}

pub(crate) fn stack_rows(parts: &[&Tensor]) -> Result<Tensor> {
    let [rows, width] = check::stack_rows(parts)?;
    let parts: Vec<_> = parts.iter().map(|part| part.values()).collect();
    Tensor::new(rows, width, tch::Tensor::f_cat(&parts, 0)?)
}
