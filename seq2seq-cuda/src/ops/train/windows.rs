//! Windows of grids, added up where they overlap.

use crate::memory::Tensor;
use crate::{Cuda, kernels};
use seq2seq_core::train::Gradient;
use seq2seq_core::{Grid, Result, Windows, backend::check};

pub(crate) fn windows_backward(
    cuda: &Cuda,
    dy: &Tensor,
    grids: &[Grid],
    windows: &Windows,
    channels: usize,
    dx: &mut Gradient<Tensor>,
) -> Result<()> {
    let sights = check::windows_backward(dy, grids, windows, channels, dx)?;
    let mut part = cuda.tensor(sights.positions, channels)?;
    kernels::windows::windows_back(cuda, dy, &sights, windows, &mut part)?;
    super::add(cuda, part, dx)
}
