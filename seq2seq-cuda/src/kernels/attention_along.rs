//! Σ dy y of each row and head.

use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Tensor;
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;

static ARTIFACT: Artifact = artifact!("attention_along");
static ALONG: Kernel = Kernel::new(&ARTIFACT, "attention_along");
const THREADS: usize = 256;

/// `[N, H]` of two tensors `[N, H D]`.
pub(crate) fn along(cuda: &Cuda, (y, dy): (&Tensor, &Tensor), heads: usize) -> Result<Tensor> {
    let (rows, inner) = (y.rows(), y.width());
    assert_eq!((dy.rows(), dy.width(), inner % heads), (rows, inner, 0));
    let mut along = cuda.tensor(rows, heads)?;
    let launch = Launch::new(cuda, &ALONG)
        .grid((rows * heads).div_ceil(THREADS / 32), 1, 1)
        .block(THREADS)
        .arg(y.values())
        .arg(dy.values())
        .arg((rows * heads) as i64)
        .size(inner / heads)
        .out(along.values_mut());
    // SAFETY: a warp for each row and head, of which both tensors have as many columns.
    unsafe { launch.run() }?;
    Ok(along)
}
