//! Chosen rows, one row a sequence, columns and rows taken apart.

use super::{add, gradients, leaf, zeros};
use crate::fault::Result;
use crate::ops::pool::apply;
use crate::tensor::indices;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::Gradient;
use seq2seq_core::{Pool, Ragged, Rows};
use std::ops::Range;

pub(crate) fn gather_rows_backward(
    tch: &Tch,
    dy: &Tensor,
    rows: &[usize],
    count: usize,
    dx: &mut Gradient<Tensor>,
) -> Result<()> {
    check::gather_rows_backward(dy, rows, count, dx)?;
    let chosen = indices(rows.iter().copied(), tch.device())?;
    let sums = zeros(tch, count, dy.width())?.f_index_add(0, &chosen, &tch.wide(dy)?)?;
    add(tch, dx, [count, dy.width()], &sums)
}

pub(crate) fn pool_backward(
    tch: &Tch,
    dy: &Tensor,
    rows: &Ragged,
    pool: Pool,
    dx: &mut Gradient<Tensor>,
) -> Result<()> {
    check::pool_backward(dy, rows, dx)?;
    let x = leaf(&zeros(tch, rows.rows(), dy.width())?)?;
    let found = gradients(&apply(tch, &x, rows, pool)?, &tch.wide(dy)?, &[&x])?;
    add(tch, dx, [rows.rows(), dy.width()], &found[0])
}

pub(crate) fn columns_backward(
    tch: &Tch,
    dy: &Tensor,
    from: usize,
    (width, columns): (usize, Range<usize>),
    part: &mut Gradient<Tensor>,
) -> Result<()> {
    check::columns_backward(dy, from, (width, &columns), part)?;
    let own = dy.values().f_narrow(1, from as i64, columns.len() as i64)?;
    let beside = [columns.start as i64, (width - columns.end) as i64];
    add(tch, part, [dy.rows(), width], &own.f_constant_pad_nd(beside)?)
}

pub(crate) fn stack_rows_backward(
    tch: &Tch,
    dy: &Tensor,
    rows: Range<usize>,
    part: &mut Gradient<Tensor>,
) -> Result<()> {
    check::stack_rows_backward(dy, &rows, part)?;
    let own = dy.values().f_narrow(0, rows.start as i64, rows.len() as i64)?;
    add(tch, part, [rows.len(), dy.width()], &own)
}
