//! [`ConvolutionOps`], and [`TrainConvolutionOps`].

use crate::ops::{train, windows};
use crate::{Cuda, Tensor};
use seq2seq_core::train::{Gradient, TrainConvolutionOps};
use seq2seq_core::{ConvolutionOps, Grid, Result, Windows};

impl ConvolutionOps for Cuda {
    fn windows(&self, x: &Tensor, grids: &[Grid], windows: &Windows) -> Result<Tensor> {
        windows::windows(self, x, grids, windows)
    }
}

impl TrainConvolutionOps for Cuda {
    fn windows_backward(
        &self,
        dy: &Tensor,
        grids: &[Grid],
        windows: &Windows,
        channels: usize,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        train::windows::windows_backward(self, dy, grids, windows, channels, dx)
    }
}
