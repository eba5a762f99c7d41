//! Windows of grids.

use crate::memory::Tensor;
use crate::{Cuda, kernels};
use seq2seq_core::{Grid, Result, Windows, backend::check};

pub(crate) fn windows(
    cuda: &Cuda,
    x: &Tensor,
    grids: &[Grid],
    windows: &Windows,
) -> Result<Tensor> {
    let sights = check::windows(x, grids, windows)?;
    let mut y = cuda.tensor(sights.rows, sights.width)?;
    kernels::windows::windows(cuda, x, &sights, windows, &mut y)?;
    Ok(y)
}
