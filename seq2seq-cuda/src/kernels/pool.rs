//! Rows that are chosen, and means of rows.

use super::{chosen::Chosen, column_threads};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Tensor;
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::{Ragged, Rows};

static ARTIFACT: Artifact = artifact!("pool");
static GATHER: Kernel = Kernel::new(&ARTIFACT, "gather_rows");
static MEAN: Kernel = Kernel::new(&ARTIFACT, "mean_rows");

/// Row i of `y` is row `rows[i]` of `x`. Rows are those of `x`, checked by the caller.
pub(crate) fn gather_rows(cuda: &Cuda, x: &Tensor, rows: &[u32], y: &mut Tensor) -> Result<()> {
    let width = x.width();
    assert_eq!((rows.len(), width), (y.rows(), y.width()));
    let index = cuda.upload_values(rows)?;
    // SAFETY: each index is that of a row of x, as the caller promises; y has a row for each.
    unsafe { gather(cuda, x, index.address(), y) }
}

/// Row i of `y` is that of the hypothesis which hypothesis i of those that were chosen continues.
pub(crate) fn gather_parents(
    cuda: &Cuda,
    x: &Tensor,
    chosen: &Chosen,
    y: &mut Tensor,
) -> Result<()> {
    let rows = chosen.next();
    assert_eq!((rows, rows, x.width()), (x.rows(), y.rows(), y.width()));
    // SAFETY: parents are hypotheses of the step before, of which there are as many; y has a row for each.
    unsafe { gather(cuda, x, chosen.parents(), y) }
}

/// # Safety
/// At `index` there is a row of x for each row of y, as u32.
unsafe fn gather(cuda: &Cuda, x: &Tensor, index: u64, y: &mut Tensor) -> Result<()> {
    let launch = Launch::new(cuda, &GATHER)
        .grid(y.rows(), 1, 1)
        .block(column_threads(x.width()))
        .arg(x.values())
        .arg(index)
        .size(x.width())
        .out(y.values_mut());
    // SAFETY: the caller's promise; both have rows of this width.
    unsafe { launch.run() }
}

/// The mean of each sequence, none of which is empty.
pub(crate) fn mean_rows(cuda: &Cuda, x: &Tensor, rows: &Ragged, y: &mut Tensor) -> Result<()> {
    let width = x.width();
    assert_eq!((rows.rows(), rows.sequences(), width), (x.rows(), y.rows(), y.width()));
    let ends = rows.ranges().map(|r| r.end as u32);
    let offsets: Vec<u32> = std::iter::once(0).chain(ends).collect();
    let offsets = cuda.upload_values(&offsets)?;
    let threads = column_threads(width);
    let launch = Launch::new(cuda, &MEAN)
        .grid(rows.sequences(), width.div_ceil(threads), 1)
        .block(threads)
        .arg(x.values())
        .arg(&offsets)
        .size(width)
        .out(y.values_mut());
    // SAFETY: offsets are those of the rows of x; y is [sequences, width].
    unsafe { launch.run() }
}
