//! Windows of grids.

use super::super::Rows;
use crate::train::Gradient;
use crate::{Error, Grid, Result, Windows};

/// A grid and its windows, and where they lie in their tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The grid that is seen.
    pub grid: Grid,
    /// The row of its first position.
    pub from: usize,
    /// The grid of its windows.
    pub windows: Grid,
    /// The row of its first window.
    pub to: usize,
}

impl Sight {
    /// Row and column of the window at row `row`, one of this grid.
    pub fn window(&self, row: usize) -> [usize; 2] {
        let at = row - self.to;
        [at / self.windows.width, at % self.windows.width]
    }

    /// Row and column of the position at row `row`, one of this grid.
    pub fn position(&self, row: usize) -> [usize; 2] {
        let at = row - self.from;
        [at / self.grid.width, at % self.grid.width]
    }
}

/// The grids of a batch and their windows, one after the other.
///
/// ```
/// use seq2seq_core::{Backend, Grid, HostTensor, Windows, backend::check, reference::Reference};
///
/// let x = Reference.upload(&HostTensor::from_f32(vec![7, 5], &[0.0; 35])?)?;
/// let sights = check::windows(&x, &[Grid::line(4), Grid::line(3)], &Windows::line(2, 1, 0))?;
/// assert_eq!((sights.positions, sights.rows, sights.width), (7, 5, 10));
/// let second = sights.of_window(3);
/// assert_eq!((second.grid, second.from), (Grid::line(3), 4));
/// assert_eq!((second.windows, second.to), (Grid::line(2), 3));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sights {
    /// Of each grid.
    pub each: Vec<Sight>,
    /// Rows of the positions.
    pub positions: usize,
    /// Rows of the windows.
    pub rows: usize,
    /// Columns of the windows.
    pub width: usize,
}

impl Sights {
    fn new(op: &'static str, grids: &[Grid], windows: &Windows, channels: usize) -> Result<Self> {
        for (what, [height, width], least) in [
            ("kernel", windows.kernel, 1),
            ("stride", windows.stride, 1),
            ("padding", windows.padding, 0),
            ("dilation", windows.dilation, 1),
        ] {
            let sides = least..=i32::MAX as usize;
            if !sides.contains(&height) || !sides.contains(&width) {
                let reason =
                    format!("{what} is {height} x {width}; a side is {least} to 2147483647");
                return Err(Error::invalid(op, reason));
            }
        }
        let count = |before: usize, grid: Grid| {
            let positions = grid.height.checked_mul(grid.width);
            let sum = positions.and_then(|positions| positions.checked_add(before));
            sum.ok_or_else(|| Error::invalid(op, "more positions than can be counted"))
        };
        let (mut each, mut positions, mut rows) = (Vec::with_capacity(grids.len()), 0, 0);
        for (i, &grid) in grids.iter().enumerate() {
            let Some(seen) = windows.output(grid) else {
                let ([kh, kw], [ph, pw]) = (windows.kernel, windows.padding);
                let ([dh, dw], Grid { height, width }) = (windows.dilation, grid);
                let reason = format!(
                    "grid {i} of {height} x {width} is smaller than a window of {kh} x {kw}, {dh} and {dw} apart, with a padding \
                     of {ph} and {pw}; pad it or leave it out"
                );
                return Err(Error::invalid(op, reason));
            };
            each.push(Sight { grid, from: positions, windows: seen, to: rows });
            (positions, rows) = (count(positions, grid)?, count(rows, seen)?);
        }
        // As many bytes can be held.
        let held =
            |width: &usize| width.checked_mul(rows).is_some_and(|n| n <= isize::MAX as usize / 4);
        let width = windows.taps().checked_mul(channels).filter(held).ok_or_else(|| {
            Error::invalid(op, format!("{rows} windows of {channels} channels are too many"))
        })?;
        Ok(Self { each, positions, rows, width })
    }

    /// That of the window at row `row`.
    ///
    /// # Panics
    /// When there is no such window.
    pub fn of_window(&self, row: usize) -> &Sight {
        // Grids without windows begin where the next one does.
        &self.each[self.each.partition_point(|sight| sight.to <= row) - 1]
    }

    /// That of the position at row `row`.
    ///
    /// # Panics
    /// When there is no such position.
    pub fn of_position(&self, row: usize) -> &Sight {
        &self.each[self.each.partition_point(|sight| sight.from <= row) - 1]
    }
}

/// For [`ConvolutionOps::windows`](crate::ConvolutionOps::windows): where each grid and its windows lie.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Grid, Windows, backend::check};
///
/// check::windows(&tensor(5, 8)?, &[Grid::line(3), Grid::line(2)], &Windows::line(2, 1, 0))?;
/// let error = check::windows(&tensor(5, 8)?, &[Grid::line(4)], &Windows::line(2, 1, 0)).unwrap_err();
/// assert_eq!(error.to_string(), "windows: rows is 5, expected 4");
/// let error = check::windows(&tensor(1, 8)?, &[Grid::line(1)], &Windows::line(2, 0, 0)).unwrap_err();
/// assert_eq!(error.to_string(), "windows: stride is 1 x 0; a side is 1 to 2147483647");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn windows(x: &impl Rows, grids: &[Grid], windows: &Windows) -> Result<Sights> {
    const OP: &str = "windows";
    let sights = Sights::new(OP, grids, windows, x.width())?;
    Error::expect(OP, "rows", sights.positions, x.rows())?;
    Ok(sights)
}

/// For [`TrainConvolutionOps::windows_backward`](crate::train::TrainConvolutionOps::windows_backward), of `channels`.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Grid, Windows, backend::check};
///
/// let (grids, windows) = ([Grid::line(5)], Windows::line(2, 1, 0));
/// check::windows_backward(&tensor(4, 6)?, &grids, &windows, 3, &Some(tensor(5, 3)?))?;
/// let error = check::windows_backward(&tensor(4, 5)?, &grids, &windows, 3, &None).unwrap_err();
/// assert_eq!(error.to_string(), "windows_backward: width of the gradient of the result is 5, expected 6");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn windows_backward<T: Rows>(
    dy: &T,
    grids: &[Grid],
    windows: &Windows,
    channels: usize,
    dx: &Gradient<T>,
) -> Result<Sights> {
    const OP: &str = "windows_backward";
    let sights = Sights::new(OP, grids, windows, channels)?;
    super::train::shaped(OP, dy, [sights.rows, sights.width])?;
    super::gradient(OP, dx.as_ref(), [sights.positions, channels])?;
    Ok(sights)
}
