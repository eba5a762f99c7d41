//! Back from lookups, from chosen rows and from pools.

use super::begun;
use crate::memory::Tensor;
use crate::ops::embed::ids_of;
use crate::{Cuda, kernels};
use kernels::elementwise::{scatter_rows, spread_rows};
use seq2seq_core::backend::check;
use seq2seq_core::train::{Gradient, Looked};
use seq2seq_core::{DType, Lookup, Pool, Ragged, Result, Rows};

/// Lookups in masters.
pub(crate) fn embed(cuda: &Cuda, lookups: &[Lookup<'_, Tensor>]) -> Result<Tensor> {
    let [rows, width] = check::embed(lookups, |table| [table.rows(), table.width()])?;
    let mut y = cuda.tensor(rows, width)?;
    let tables = lookups.iter().map(|l| kernels::embed::Source {
        address: l.table.values().address(),
        dtype: DType::F32,
        scale: l.scale,
    });
    let ids = (None, &ids_of(lookups)[..]);
    kernels::embed::embed(cuda, &tables.collect::<Vec<_>>(), ids, &mut y)?;
    Ok(y)
}

pub(crate) fn backward(
    cuda: &Cuda,
    looked: Looked<'_>,
    dy: &Tensor,
    table: &mut Gradient<Tensor>,
) -> Result<()> {
    check::embed_backward(looked, dy, table)?;
    let table = begun(cuda, table, [looked.table_rows, dy.width()])?;
    Ok(scatter_rows(cuda, dy, looked.ids, looked.scale, table)?)
}

pub(crate) fn gather_rows_backward(
    cuda: &Cuda,
    dy: &Tensor,
    rows: &[usize],
    count: usize,
    dx: &mut Gradient<Tensor>,
) -> Result<()> {
    check::gather_rows_backward(dy, rows, count, dx)?;
    let rows: Vec<u32> = rows.iter().map(|&r| r as u32).collect();
    let dx = begun(cuda, dx, [count, dy.width()])?;
    Ok(scatter_rows(cuda, dy, &rows, 1.0, dx)?)
}

pub(crate) fn pool_backward(
    cuda: &Cuda,
    dy: &Tensor,
    rows: &Ragged,
    pool: Pool,
    dx: &mut Gradient<Tensor>,
) -> Result<()> {
    check::pool_backward(dy, rows, dx)?;
    let size = [rows.rows(), dy.width()];
    let chosen: Vec<u32> = match pool {
        Pool::First => rows.ranges().map(|r| r.start as u32).collect(),
        Pool::Last => rows.ranges().map(|r| r.end as u32 - 1).collect(),
        Pool::Mean => return Ok(spread_rows(cuda, dy, rows, true, begun(cuda, dx, size)?)?),
    };
    Ok(scatter_rows(cuda, dy, &chosen, 1.0, begun(cuda, dx, size)?)?)
}
