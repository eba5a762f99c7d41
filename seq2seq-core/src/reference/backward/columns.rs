//! Columns side by side and rows one below the other, taken apart again.

use super::{Tensor, add};
use crate::backend::check;
use crate::train::Gradient;
use crate::{Result, Rows};
use std::ops::Range;

pub(super) fn columns_backward(
    dy: &Tensor,
    from: usize,
    (width, columns): (usize, Range<usize>),
    part: &mut Gradient<Tensor>,
) -> Result<()> {
    check::columns_backward(dy, from, (width, &columns), part)?;
    let mut values = vec![0.0f64; dy.rows() * width];
    for (n, row) in dy.iter().enumerate() {
        for (i, column) in columns.clone().enumerate() {
            values[n * width + column] = row[from + i].into();
        }
    }
    add(part, dy.rows(), width, &values);
    Ok(())
}

pub(super) fn stack_rows_backward(
    dy: &Tensor,
    rows: Range<usize>,
    part: &mut Gradient<Tensor>,
) -> Result<()> {
    check::stack_rows_backward(dy, &rows, part)?;
    let values: Vec<f64> = rows.clone().flat_map(|n| dy.row(n)).map(|&v| f64::from(v)).collect();
    add(part, rows.len(), dy.width(), &values);
    Ok(())
}
