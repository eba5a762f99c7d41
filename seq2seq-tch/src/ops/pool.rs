//! Choosing rows, and one row a sequence.

use crate::fault::Result;
use crate::tensor::indices;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::{Pool, Ragged, Rows};

pub(crate) fn gather_rows(tch: &Tch, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
    check::gather_rows(x, rows)?;
    let chosen = indices(rows.iter().copied(), tch.device())?;
    Tensor::new(rows.len(), x.width(), x.values().f_index_select(0, &chosen)?)
}

pub(crate) fn pool(tch: &Tch, x: &Tensor, rows: &Ragged, pool: Pool) -> Result<Tensor> {
    check::pool(x, rows)?;
    let y = apply(tch, &tch.wide(x)?, rows, pool)?;
    Tensor::new(rows.sequences(), x.width(), y)
}

/// One row a sequence of `x`, none of them empty.
pub(crate) fn apply(tch: &Tch, x: &tch::Tensor, rows: &Ragged, pool: Pool) -> Result<tch::Tensor> {
    let chosen: Vec<usize> = match pool {
        Pool::First => rows.ranges().map(|r| r.start).collect(),
        Pool::Last => rows.ranges().map(|r| r.end - 1).collect(),
        Pool::Mean => {
            let mut means = vec![x.f_narrow(0, 0, 0)?];
            for range in rows.ranges() {
                let own = x.f_narrow(0, range.start as i64, range.len() as i64)?;
                means.push(own.f_mean_dim([0i64].as_slice(), true, None)?);
            }
            return Ok(tch::Tensor::f_cat(&means, 0)?);
        }
    };
    Ok(x.f_index_select(0, &indices(chosen.into_iter(), tch.device())?)?)
}
