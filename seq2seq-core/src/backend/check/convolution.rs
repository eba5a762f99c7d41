//! Windows of grids.

use super::super::Rows;
use crate::train::Gradient;
use crate::{Error, Grid, Result, Windows};

/// A grid and its windows, and where they lie in their tensors.
///
/// ```
/// use seq2seq_core::{Backend, Grid, HostTensor, Windows, backend::check, reference::Reference};
///
/// let x = Reference.upload(&HostTensor::from_f32(vec![7, 1], &[0.0; 7])?)?;
/// let sights = check::windows(&x, &[Grid::line(4), Grid::line(3)], &Windows::line(2, 1, 0))?;
/// assert_eq!((sights[1].grid, sights[1].from), (Grid::line(3), 4));
/// assert_eq!((sights[1].windows, sights[1].to), (Grid::line(2), 3));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
    /// That of the window at row `row`.
    ///
    /// # Panics
    /// When there is no such window.
    pub fn of_window(sights: &[Self], row: usize) -> &Self {
        // Grids without windows begin where the next one does.
        &sights[sights.partition_point(|sight| sight.to <= row) - 1]
    }

    /// That of the position at row `row`.
    ///
    /// # Panics
    /// When there is no such position.
    pub fn of_position(sights: &[Self], row: usize) -> &Self {
        &sights[sights.partition_point(|sight| sight.from <= row) - 1]
    }

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

/// The grids and their windows, one after the other.
fn sights(op: &'static str, grids: &[Grid], windows: &Windows) -> Result<Vec<Sight>> {
    for (what, [height, width], least) in [
        ("kernel", windows.kernel, 1),
        ("stride", windows.stride, 1),
        ("padding", windows.padding, 0),
        ("dilation", windows.dilation, 1),
    ] {
        let sides = least..=i32::MAX as usize;
        if !sides.contains(&height) || !sides.contains(&width) {
            let reason = format!("{what} is {height} x {width}; a side is {least} to 2147483647");
            return Err(Error::invalid(op, reason));
        }
    }
    let too_many = || Error::invalid(op, "more positions than can be counted");
    let (mut from, mut to) = (0usize, 0usize);
    grids
        .iter()
        .enumerate()
        .map(|(i, &grid)| {
            let Some(seen) = windows.output(grid) else {
                let ([kh, kw], [ph, pw]) = (windows.kernel, windows.padding);
                let ([dh, dw], Grid { height, width }) = (windows.dilation, grid);
                let reason = format!(
                    "grid {i} of {height} x {width} is smaller than a window of {kh} x {kw}, {dh} and {dw} apart, with a padding \
                     of {ph} and {pw}; pad it or leave it out"
                );
                return Err(Error::invalid(op, reason));
            };
            let sight = Sight { grid, from, windows: seen, to };
            let positions = |grid: Grid| grid.height.checked_mul(grid.width);
            from = positions(grid).and_then(|n| n.checked_add(from)).ok_or_else(too_many)?;
            to = positions(seen).and_then(|n| n.checked_add(to)).ok_or_else(too_many)?;
            Ok(sight)
        })
        .collect()
}

/// Rows of both tensors together, and columns of the windows of `channels` channels.
fn sizes(
    op: &'static str,
    sights: &[Sight],
    windows: &Windows,
    channels: usize,
) -> Result<[usize; 3]> {
    let last = sights.last();
    let positions = last.map_or(0, |s| s.from + s.grid.positions());
    let rows = last.map_or(0, |s| s.to + s.windows.positions());
    let width = windows.kernel[0]
        .checked_mul(windows.kernel[1])
        .and_then(|taps| taps.checked_mul(channels))
        // As many bytes can be held.
        .filter(|width| width.checked_mul(rows).is_some_and(|n| n <= isize::MAX as usize / 4))
        .ok_or_else(|| {
            Error::invalid(op, format!("{rows} windows of {channels} channels are too many"))
        })?;
    Ok([positions, rows, width])
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
pub fn windows(x: &impl Rows, grids: &[Grid], windows: &Windows) -> Result<Vec<Sight>> {
    const OP: &str = "windows";
    let sights = sights(OP, grids, windows)?;
    let [positions, _, _] = sizes(OP, &sights, windows, x.width())?;
    Error::expect(OP, "rows", positions, x.rows())?;
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
) -> Result<Vec<Sight>> {
    const OP: &str = "windows_backward";
    let sights = sights(OP, grids, windows)?;
    let [positions, rows, width] = sizes(OP, &sights, windows, channels)?;
    super::train::shaped(OP, dy, [rows, width])?;
    super::gradient(OP, dx.as_ref(), [positions, channels])?;
    Ok(sights)
}
