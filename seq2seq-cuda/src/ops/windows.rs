//! Windows of grids.

use crate::memory::Tensor;
use crate::{Cuda, kernels};
use seq2seq_core::{Grid, Result, Rows, Windows, backend::check};

pub(crate) fn windows(
    cuda: &Cuda,
    x: &Tensor,
    grids: &[Grid],
    windows: &Windows,
) -> Result<Tensor> {
    let sights = check::windows(x, grids, windows)?;
    let rows = sights.last().map_or(0, |last| last.to + last.windows.positions());
    let mut y = cuda.tensor(rows, windows.taps() * x.width())?;
    kernels::windows::windows(cuda, x, &sights, windows, &mut y)?;
    Ok(y)
}
