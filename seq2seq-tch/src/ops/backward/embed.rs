//! Lookups in masters.

use super::{add, zeros};
use crate::fault::Result;
use crate::tensor::indices;
use crate::{Tch, Tensor};
use seq2seq_core::Rows;
use seq2seq_core::backend::check;
use seq2seq_core::train::{Gradient, Looked};

pub(crate) fn backward(
    tch: &Tch,
    looked: Looked<'_>,
    dy: &Tensor,
    table: &mut Gradient<Tensor>,
) -> Result<()> {
    check::embed_backward(looked, dy, table)?;
    let ids = indices(looked.ids.iter().map(|&id| id as usize), tch.device())?;
    let dy_scaled = tch.wide(dy)?.f_mul_scalar(f64::from(looked.scale))?;
    let sums = zeros(tch, looked.table_rows, dy.width())?.f_index_add(0, &ids, &dy_scaled)?;
    add(tch, table, [looked.table_rows, dy.width()], &sums)
}
