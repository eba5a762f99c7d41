//! Choosing rows, and one row a sequence.

use super::Tensor;
use crate::backend::check;
use crate::{Pool, Ragged, Result, Rows};

pub(super) fn gather_rows(x: &Tensor, rows: &[usize]) -> Result<Tensor> {
    check::gather_rows(x, rows)?;
    let values = rows.iter().flat_map(|&r| x.row(r)).copied().collect();
    Ok(Tensor::new(rows.len(), x.width(), values))
}

pub(super) fn pool(x: &Tensor, rows: &Ragged, pool: Pool) -> Result<Tensor> {
    check::pool(x, rows)?;
    let mut values = Vec::with_capacity(rows.sequences() * x.width());
    for range in rows.ranges() {
        match pool {
            Pool::First => values.extend(x.row(range.start)),
            Pool::Last => values.extend(x.row(range.end - 1)),
            Pool::Mean => values.extend((0..x.width()).map(|column| {
                let sum: f64 = range.clone().map(|r| f64::from(x.row(r)[column])).sum();
                (sum / range.len() as f64) as f32
            })),
        }
    }
    Ok(Tensor::new(rows.sequences(), x.width(), values))
}
