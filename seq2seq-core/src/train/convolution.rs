//! The way back of convolutions.

use super::Gradient;
use crate::{ConvolutionOps, Grid, Result, Windows};

/// What convolutions add to [`TrainBackend`](super::TrainBackend). Their linear layer goes back by itself.
///
/// ```
/// use seq2seq_core::{Backend, Grid, HostTensor, Windows, reference::Reference, train::TrainConvolutionOps};
///
/// let b = Reference;
/// // Windows of two places of a line of three: the place between is seen twice.
/// let dy = b.upload(&HostTensor::from_f32(vec![2, 2], &[1.0, 2.0, /**/ 10.0, 20.0])?)?;
/// let mut dx = None;
/// b.windows_backward(&dy, &[Grid::line(3)], &Windows::line(2, 1, 0), 1, &mut dx)?;
/// assert_eq!(dx.map(|dx| b.download(&dx)).transpose()?, Some(vec![1.0, 12.0, 20.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub trait TrainConvolutionOps: ConvolutionOps {
    /// Adds to the gradient of each position, `[Σ positions, channels]`, that of every tap of
    /// [`windows`](ConvolutionOps::windows) that sees it, in the order of the taps.
    fn windows_backward(
        &self,
        dy: &Self::Tensor,
        grids: &[Grid],
        windows: &Windows,
        channels: usize,
        dx: &mut Gradient<Self::Tensor>,
    ) -> Result<()>;
}
