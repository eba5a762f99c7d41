//! Grids of positions, and the windows that a convolution sees of them.

use crate::{Error, HostTensor, Result};
use std::{ops::Range, sync::Arc};

/// Positions in rows and columns: an image, the patches of one, or a line of sound, which is one row.
///
/// A tensor holds a position a row, those of a grid row by row, and the channels are its columns.
///
/// ```
/// use seq2seq_core::Grid;
///
/// assert_eq!(Grid { height: 14, width: 14 }.positions(), 196);
/// assert_eq!(Grid::line(3000), Grid { height: 1, width: 3000 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Rows.
    pub height: usize,
    /// Positions of a row.
    pub width: usize,
}

impl Grid {
    /// A grid of one row.
    pub fn line(positions: usize) -> Self {
        Self { height: 1, width: positions }
    }

    /// How many positions there are; `usize::MAX` where they cannot be counted.
    pub fn positions(self) -> usize {
        self.height.saturating_mul(self.width)
    }
}

/// What a convolution sees at a time: the windows of [`windows`](crate::ConvolutionOps::windows). Each field has a number for the
/// rows of a grid and one for its columns.
///
/// Window o begins at place `o · stride - padding` of an axis, and its tap t is at `dilation · t` from there; what lies outside is
/// zero. There are `⌊(size + 2 padding - dilation (kernel - 1) - 1) / stride⌋ + 1` windows along an axis, as in PyTorch's
/// convolutions.
///
/// ```
/// use seq2seq_core::{Grid, Windows};
///
/// // The second convolution of Whisper's encoder, and the patches of a vision transformer.
/// let (sound, patches) = (Windows::line(3, 2, 1), Windows::patches(16));
/// assert_eq!(sound.output(Grid::line(3000)), Some(Grid::line(1500)));
/// assert_eq!(patches.output(Grid { height: 224, width: 224 }), Some(Grid { height: 14, width: 14 }));
/// assert_eq!((sound.taps(), patches.taps()), (3, 256));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Taps.
    pub kernel: [usize; 2],
    /// Places from a window to the next.
    pub stride: [usize; 2],
    /// Zeros on either side of a grid.
    pub padding: [usize; 2],
    /// Places from a tap to the next.
    pub dilation: [usize; 2],
}

impl Windows {
    /// Of lines.
    pub fn line(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel: [1, kernel], stride: [1, stride], padding: [0, padding], dilation: [1, 1] }
    }

    /// Squares of `side` that lie side by side.
    pub fn patches(side: usize) -> Self {
        Self { kernel: [side; 2], stride: [side; 2], padding: [0; 2], dilation: [1; 2] }
    }

    /// Taps of a window; `usize::MAX` where they cannot be counted.
    pub fn taps(&self) -> usize {
        self.kernel[0].saturating_mul(self.kernel[1])
    }

    /// The grid of the windows of `grid`: none of a grid without positions. `None` where `grid` is smaller than a window, padding
    /// included, where a side is out of what can be counted, and where kernel, stride or dilation is 0.
    pub fn output(&self, grid: Grid) -> Option<Grid> {
        if [self.kernel, self.stride, self.dilation].iter().flatten().any(|&n| n == 0) {
            return None;
        }
        if grid.height == 0 || grid.width == 0 {
            return Some(Grid { height: 0, width: 0 });
        }
        let along = |axis: usize, size: usize| {
            let window = (self.kernel[axis].checked_sub(1)?).checked_mul(self.dilation[axis])?;
            let padded = self.padding[axis].checked_mul(2)?.checked_add(size)?;
            Some(padded.checked_sub(window)?.checked_sub(1)? / self.stride[axis] + 1)
        };
        Some(Grid { height: along(0, grid.height)?, width: along(1, grid.width)? })
    }

    /// The place of an axis of `size` places that tap `tap` of window `window` sees; `None` in the padding.
    pub fn place(&self, axis: usize, (window, tap): (usize, usize), size: usize) -> Option<usize> {
        // What is beyond counting is beyond any grid.
        let from_padding = window
            .saturating_mul(self.stride[axis])
            .saturating_add(tap.saturating_mul(self.dilation[axis]));
        from_padding.checked_sub(self.padding[axis]).filter(|&place| place < size)
    }

    /// The taps of window `window` that see a place of an axis of `size` places, one tap behind the other: those for which
    /// [`place`](Self::place) finds one. An empty range stands where they would be.
    ///
    /// ```
    /// use seq2seq_core::Windows;
    ///
    /// let windows = Windows::line(3, 2, 1);
    /// assert_eq!((windows.taps_within(1, 0, 5), windows.taps_within(1, 1, 5)), (1..3, 0..3));
    /// ```
    pub fn taps_within(&self, axis: usize, window: usize, size: usize) -> Range<usize> {
        let begin = window.saturating_mul(self.stride[axis]);
        // How many taps lie before `place`, counted from the first padding.
        let before = |place: usize| {
            let taps = place.saturating_sub(begin).div_ceil(self.dilation[axis].max(1));
            taps.min(self.kernel[axis])
        };
        before(self.padding[axis])..before(self.padding[axis].saturating_add(size))
    }

    /// The window of an axis of `windows` of them whose tap `tap` sees place `place`, if there is one.
    pub fn window(
        &self,
        axis: usize,
        (place, tap): (usize, usize),
        windows: usize,
    ) -> Option<usize> {
        let place = place.checked_add(self.padding[axis])?;
        let begin = place.checked_sub(tap.checked_mul(self.dilation[axis])?)?;
        let window = begin.checked_div(self.stride[axis])?;
        (window * self.stride[axis] == begin && window < windows).then_some(window)
    }
}

/// The weight of a convolution in the order in which [`Windows`] has its input: `[out, C, width]` or `[out, C, height, width]`, as
/// PyTorch stores it, to `[out, taps · C]`. The type and the name stay.
///
/// ```
/// use seq2seq_core::{HostTensor, channels_last};
///
/// // Two channels, three taps.
/// let weight = HostTensor::from_f32(vec![1, 2, 3], &[1.0, 2.0, 3.0, /**/ 10.0, 20.0, 30.0])?;
/// let weight = channels_last(&weight)?;
/// assert_eq!(weight.shape(), [1, 6]);
/// assert_eq!(weight.to_f32(), [1.0, 10.0, /**/ 2.0, 20.0, /**/ 3.0, 30.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
///
/// # Errors
/// For another number of dimensions, and for weights that are quantised.
pub fn channels_last(weight: &HostTensor) -> Result<HostTensor> {
    const OP: &str = "channels_last";
    let (outputs, channels, taps) = match *weight.shape() {
        [outputs, channels, width] => (outputs, channels, width),
        [outputs, channels, height, width] => (outputs, channels, height * width),
        ref shape => {
            let reason = format!("the weight has the shape {shape:?}, expected 3 or 4 dimensions");
            return Err(Error::invalid(OP, reason));
        }
    };
    if weight.quantisation().is_some() {
        return Err(Error::invalid(OP, "the weight is quantised; turn it before"));
    }
    let (size, from) = (weight.dtype().size(), weight.bytes());
    let mut bytes = Vec::with_capacity(from.len());
    for output in 0..outputs {
        for tap in 0..taps {
            for channel in 0..channels {
                let at = ((output * channels + channel) * taps + tap) * size;
                bytes.extend_from_slice(&from[at..at + size]);
            }
        }
    }
    let (shape, all) = (vec![outputs, taps * channels], 0..bytes.len());
    let turned = HostTensor::from_shared(weight.dtype(), shape, Arc::new(bytes), all)?;
    Ok(match weight.name() {
        Some(name) => turned.named(name.clone()),
        None => turned,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_places_find_each_other() {
        for [size, kernel, stride, padding, dilation] in
            [[7, 3, 1, 1, 1], [8, 3, 2, 1, 1], [9, 2, 3, 0, 4], [5, 4, 1, 3, 2], [16, 4, 4, 0, 1]]
        {
            let windows = Windows {
                kernel: [1, kernel],
                stride: [1, stride],
                padding: [0, padding],
                dilation: [1, dilation],
            };
            let count = windows.output(Grid::line(size)).unwrap().width;
            for window in 0..count {
                for tap in 0..kernel {
                    match windows.place(1, (window, tap), size) {
                        Some(place) => {
                            assert_eq!(windows.window(1, (place, tap), count), Some(window));
                        }
                        None => assert!(padding > 0),
                    }
                }
            }
            for window in 0..count {
                let sees = |tap| windows.place(1, (window, tap), size).is_some();
                let within = windows.taps_within(1, window, size);
                assert!((0..kernel).all(|tap| within.contains(&tap) == sees(tap)));
            }
            let found = (0..size).flat_map(|place| {
                (0..kernel)
                    .filter_map(move |tap| Some((windows.window(1, (place, tap), count)?, tap)))
            });
            let seen = (0..count).flat_map(|window| {
                (0..kernel).filter_map(move |tap| {
                    windows.place(1, (window, tap), size).map(|_| (window, tap))
                })
            });
            let (mut found, mut seen): (Vec<_>, Vec<_>) = (found.collect(), seen.collect());
            found.sort();
            seen.sort();
            assert_eq!(found, seen);
        }
    }

    #[test]
    fn weights_of_other_shapes_are_refused() {
        for shape in [vec![6], vec![3, 2], vec![1, 1, 1, 3, 2]] {
            let weight = HostTensor::from_f32(shape, &[0.0; 6]).unwrap();
            assert!(channels_last(&weight).is_err());
        }
        let images = HostTensor::from_f32(vec![1, 2, 1, 3], &[1., 2., 3., 10., 20., 30.]).unwrap();
        let turned = channels_last(&images.named("k")).unwrap();
        assert_eq!(turned.to_f32(), [1., 10., 2., 20., 3., 30.]);
        assert_eq!(turned.name().map(|name| name.to_string()).as_deref(), Some("k"));
    }

    #[test]
    fn what_cannot_be_is_none() {
        let line = Grid::line(4);
        assert_eq!(Windows::line(4, 9, 0).output(line), Some(Grid::line(1)));
        for bad in [
            Windows::line(5, 1, 0),
            Windows::line(0, 1, 0),
            Windows::line(3, 0, 1),
            Windows { dilation: [1, 0], ..Windows::line(3, 1, 1) },
            Windows { dilation: [1, usize::MAX], ..Windows::line(3, 1, 1) },
            Windows::line(3, 1, usize::MAX / 2 + 1),
        ] {
            assert_eq!(bad.output(line), None, "{bad:?}");
        }
        assert_eq!(
            Windows::line(3, 1, 0).output(Grid::line(0)),
            Some(Grid { height: 0, width: 0 })
        );
    }
}
