//! Choosing rows, and one row a sequence.

use super::choose::Chosen;
use crate::memory::Tensor;
use crate::{Cuda, kernels};
use seq2seq_core::{Error, Pool, Ragged, Result, Rows, backend::check};

fn gather(cuda: &Cuda, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let mut y = cuda.tensor(rows.len(), x.width())?;
    kernels::pool::gather_rows(cuda, x, rows, &mut y)?;
    Ok(y)
}

pub(crate) fn gather_rows(cuda: &Cuda, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
    check::gather_rows(x, rows)?;
    let rows: Vec<u32> = rows.iter().map(|&r| r as u32).collect();
    gather(cuda, x, &rows)
}

pub(crate) fn gather_chosen(cuda: &Cuda, x: &Tensor, chosen: &Chosen) -> Result<Option<Tensor>> {
    if chosen.width().is_none() {
        return Ok(None);
    }
    let picked = chosen.picked();
    Error::expect("gather_chosen", "rows", picked.next(), x.rows())?;
    let mut y = cuda.tensor(x.rows(), x.width())?;
    kernels::pool::gather_parents(cuda, x, picked, &mut y)?;
    Ok(Some(y))
}

pub(crate) fn pool(cuda: &Cuda, x: &Tensor, rows: &Ragged, pool: Pool) -> Result<Tensor> {
    check::pool(x, rows)?;
    match pool {
        Pool::First => gather(cuda, x, &rows.ranges().map(|r| r.start as u32).collect::<Vec<_>>()),
        Pool::Last => gather(cuda, x, &rows.ranges().map(|r| r.end as u32 - 1).collect::<Vec<_>>()),
        Pool::Mean => {
            let mut y = cuda.tensor(rows.sequences(), x.width())?;
            kernels::pool::mean_rows(cuda, x, rows, &mut y)?;
            Ok(y)
        }
    }
}
