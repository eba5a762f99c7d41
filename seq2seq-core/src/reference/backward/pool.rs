//! Chosen rows, and one row a sequence.

use super::{Real, Tensor, add};
use crate::backend::check;
use crate::train::Gradient;
use crate::{Pool, Ragged, Result};

/// The gradient of `count` rows from that of the rows that were chosen, `[n, width]`.
pub(crate) fn gathered<R: Real>(dy: &[R], rows: &[usize], count: usize, width: usize) -> Vec<R> {
    let mut terms = vec![Vec::new(); count * width];
    for (dy, &row) in dy.chunks(width.max(1)).zip(rows) {
        dy.iter().enumerate().for_each(|(i, dy)| terms[row * width + i].push(*dy));
    }
    terms.iter().map(|terms| R::sum(terms)).collect()
}

/// The gradient of N rows from that of one row a sequence, `[B, width]`.
pub(crate) fn pooled<R: Real>(dy: &[R], rows: &Ragged, pool: Pool, width: usize) -> Vec<R> {
    let mut out = Vec::with_capacity(rows.rows() * width);
    for (sequence, range) in rows.ranges().enumerate() {
        let dy = &dy[sequence * width..(sequence + 1) * width];
        let chosen = if pool == Pool::First { 0 } else { range.len() - 1 };
        for position in 0..range.len() {
            out.extend(dy.iter().map(|dy| match pool {
                Pool::Mean => dy.over(range.len()),
                _ if position == chosen => *dy,
                _ => R::exact(0.0),
            }));
        }
    }
    out
}

pub(super) fn gather_rows_backward(
    dy: &Tensor,
    rows: &[usize],
    count: usize,
    dx: &mut Gradient<Tensor>,
) -> Result<()> {
    check::gather_rows_backward(dy, rows, count, dx)?;
    add(dx, count, dy.width, &gathered(&f64::all(&dy.values), rows, count, dy.width));
    Ok(())
}

pub(super) fn pool_backward(
    dy: &Tensor,
    rows: &Ragged,
    pool: Pool,
    dx: &mut Gradient<Tensor>,
) -> Result<()> {
    check::pool_backward(dy, rows, dx)?;
    add(dx, rows.rows(), dy.width, &pooled(&f64::all(&dy.values), rows, pool, dy.width));
    Ok(())
}
