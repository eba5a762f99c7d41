//! Windows of grids, with one fault at a time.

use super::{Fault, Mutant};
use seq2seq_core::reference::{Reference, Tensor};
use seq2seq_core::train::{Gradient, TrainConvolutionOps};
use seq2seq_core::*;

impl Mutant {
    fn seen(&self, windows: &Windows) -> Windows {
        match self.0 {
            Fault::WindowsUndilated => Windows { dilation: [1; 2], ..*windows },
            _ => *windows,
        }
    }
}

impl ConvolutionOps for Mutant {
    fn windows(&self, x: &Tensor, grids: &[Grid], windows: &Windows) -> Result<Tensor> {
        backend::check::windows(x, grids, windows)?;
        match self.0 {
            // What lies beyond one grid is the next one's.
            Fault::GridsRunTogether if windows.kernel[0] == 1 && windows.padding[0] == 0 => {
                let line = Grid::line(grids.iter().map(|grid| grid.positions()).sum());
                let (of_all, count) = (Reference.windows(x, &[line], windows)?, |grid: Grid| {
                    windows.output(grid).map_or(0, Grid::positions)
                });
                let rows: usize = grids.iter().map(|&grid| count(grid)).sum();
                let rows: Vec<usize> = (0..rows).map(|row| row.min(of_all.rows() - 1)).collect();
                Reference.gather_rows(&of_all, &rows)
            }
            Fault::WindowsUndilated if windows.dilation != [1; 2] => {
                // As many windows as there should be.
                let count = |windows: &Windows| -> usize {
                    grids.iter().filter_map(|&grid| Some(windows.output(grid)?.positions())).sum()
                };
                let near = self.seen(windows);
                let y = Reference.windows(x, grids, &near)?;
                let rows: Vec<usize> = (0..count(windows)).collect();
                Reference.gather_rows(&y, &rows)
            }
            _ => Reference.windows(x, grids, windows),
        }
    }
}

impl TrainConvolutionOps for Mutant {
    fn windows_backward(
        &self,
        dy: &Tensor,
        grids: &[Grid],
        windows: &Windows,
        channels: usize,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        if self.is(Fault::GradientReplaced) {
            backend::check::windows_backward(dy, grids, windows, channels, dx)?;
            *dx = None;
        }
        if self.is(Fault::OverlapForgotten) && dy.width() > channels {
            backend::check::windows_backward(dy, grids, windows, channels, dx)?;
            // Only the first tap goes back.
            let first = Reference.columns(&[Part { tensor: dy, columns: 0..channels }])?;
            let rest = HostTensor::from_f32(
                vec![dy.rows(), dy.width() - channels],
                &vec![0.0; dy.rows() * (dy.width() - channels)],
            )?;
            let rest = Reference.upload(&rest)?;
            let dy = Reference.columns(&[Part::all(&first), Part::all(&rest)])?;
            return Reference.windows_backward(&dy, grids, windows, channels, dx);
        }
        Reference.windows_backward(dy, grids, windows, channels, dx)?;
        if let Some(sum) = dx.take() {
            *dx = Some(self.in_batches(Fault::WindowsBackUlpInBatches, sum, grids.len())?);
        }
        Ok(())
    }
}
