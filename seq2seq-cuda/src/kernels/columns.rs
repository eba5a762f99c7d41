//! Columns copied from one tensor to another.

use super::column_threads;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;
use std::ops::Range;

static ARTIFACT: Artifact = artifact!("columns", step);
static COPY: Kernel = Kernel::new(&ARTIFACT, "copy_columns");

/// Columns `from` of each row of `x` become the columns of `y` from `to` on.
pub(crate) fn copy(
    cuda: &Cuda,
    x: &Tensor,
    from: Range<usize>,
    y: &mut Tensor,
    to: usize,
) -> Result<()> {
    assert_eq!(x.rows(), y.rows());
    assert!(from.end <= x.width() && to + from.len() <= y.width());
    let launch = Launch::new(cuda, &COPY)
        .grid(x.rows(), 1, 1)
        .block(column_threads(from.len()))
        .arg(x.values())
        .size(x.width())
        .size(from.start)
        .size(from.len())
        .size(y.width())
        .size(to)
        .out(y.values_mut());
    // SAFETY: both have as many rows as there are blocks, and the columns are inside, as was just checked.
    unsafe { launch.run() }
}

/// Value i of `x` becomes value `first` + i · `step` of `y`.
pub(crate) fn spread(
    cuda: &Cuda,
    x: &Buffer<f32>,
    y: &mut Buffer<f32>,
    first: usize,
    step: usize,
) -> Result<()> {
    assert!(x.len() == 0 || first + (x.len() - 1) * step < y.len());
    // Rows of one column.
    let launch = Launch::new(cuda, &COPY)
        .grid(x.len(), 1, 1)
        .arg(x)
        .size(1)
        .size(0)
        .size(1)
        .size(step)
        .size(first)
        .out(y);
    // SAFETY: the last value goes inside, as was just checked.
    unsafe { launch.run() }
}
