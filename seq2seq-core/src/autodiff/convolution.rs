//! The operation of convolutions.

use super::Autodiff;
use super::tape::{Record, Tensor, WindowsOf};
use crate::train::TrainBackend;
use crate::{ConvolutionOps, Grid, Result, Rows, Windows};
use std::sync::Arc;

impl<B: TrainBackend> ConvolutionOps for Autodiff<B> {
    fn windows(&self, x: &Tensor<B>, grids: &[Grid], windows: &Windows) -> Result<Tensor<B>> {
        let y = self.inner.windows(x.value(), grids, windows)?;
        match self.tape() {
            Some(mut tape) if x.depends() => {
                let (channels, grids, windows) = (x.width(), grids.to_vec(), *windows);
                let record = WindowsOf { x: tape.place(x)?, grids, windows, channels };
                Ok(tape.push(Arc::new(y), Record::Windows(record)))
            }
            _ => Ok(Tensor::constant(y)),
        }
    }
}
