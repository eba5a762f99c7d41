//! The operation of convolutions.

use super::Backend;
use crate::{Grid, Result, Windows};

/// What the front ends of speech and image encoders add.
///
/// A convolution is two operations: the windows of its input, one a row, and a [`linear`](Backend::linear) layer over them, which
/// brings its formats and its epilogue. [`channels_last`](crate::channels_last) makes the layer's matrix of a kernel as
/// PyTorch stores it. A convolution in groups is one of each group's
/// [`columns`](crate::RecurrentOps::columns).
///
/// ```
/// use seq2seq_core::{reference::Reference, *};
///
/// let b = Reference;
/// // Two lines of sound of one channel, of four places and of two; the difference of the places beside each, ReLU.
/// let x = b.upload(&HostTensor::from_f32(vec![6, 1], &[1.0, 2.0, 4.0, 8.0, /**/ 5.0, 3.0])?)?;
/// let kernel = HostTensor::from_f32(vec![1, 3], &[-1.0, 0.0, 1.0])?;
/// let layer = b.pack(&LinearSpec::single(kernel, None), Format::F32)?;
/// let seen = b.windows(&x, &[Grid::line(4), Grid::line(2)], &Windows::line(3, 1, 1))?;
/// assert_eq!(b.download(&seen)?[..6], [0.0, 1.0, 2.0, /**/ 1.0, 2.0, 4.0]);
/// let y = b.linear(&seen, &layer, Epilogue::activation(Activation::Relu))?;
/// assert_eq!(b.download(&y)?, [2.0, 3.0, 6.0, 0.0, /**/ 3.0, 0.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub trait ConvolutionOps: Backend {
    /// The windows of each grid, `[Σ positions, C]`, one after the other: `[Σ windows, taps · C]`. A window is a row: its taps row by
    /// row, the channels of each side by side, and zeros for what lies outside the grid. `grids` may have any sizes;
    /// [`Windows::output`] tells how many windows each has.
    ///
    /// # Errors
    /// Where a grid is smaller than a window, padding included, where kernel, stride or dilation is 0, and where one of them is 2³¹ or
    /// more.
    fn windows(&self, x: &Self::Tensor, grids: &[Grid], windows: &Windows) -> Result<Self::Tensor>;
}
