//! Columns copied from one tensor to another.

use super::column_threads;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Tensor;
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;
use std::ops::Range;

static ARTIFACT: Artifact = artifact!("columns");
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
