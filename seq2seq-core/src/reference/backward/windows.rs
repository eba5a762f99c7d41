//! Windows of grids, added up where they overlap.

use super::{Real, Tensor, add};
use crate::backend::check::{self, Sights};
use crate::train::Gradient;
use crate::{Grid, Result, Windows};

/// The gradient of the positions from that of their windows.
pub(crate) fn seen<R: Real>(
    dy: &[R],
    sights: &Sights,
    windows: &Windows,
    channels: usize,
) -> Vec<R> {
    let (taps, mut out) = (windows.taps(), Vec::new());
    // Lines without columns may be more than can be gone through.
    for sight in sights.each.iter().filter(|sight| sight.grid.width > 0) {
        for row in 0..sight.grid.height {
            for column in 0..sight.grid.width {
                let mut terms = vec![Vec::new(); channels];
                for tap in 0..taps {
                    let (tap_row, tap_column) = (tap / windows.kernel[1], tap % windows.kernel[1]);
                    let y = windows.window(0, (row, tap_row), sight.windows.height);
                    let x = windows.window(1, (column, tap_column), sight.windows.width);
                    if let (Some(y), Some(x)) = (y, x) {
                        let window = sight.to + y * sight.windows.width + x;
                        let dy = &dy[(window * taps + tap) * channels..][..channels];
                        terms.iter_mut().zip(dy).for_each(|(terms, &dy)| terms.push(dy));
                    }
                }
                out.extend(terms.iter().map(|terms| R::sum(terms)));
            }
        }
    }
    out
}

pub(super) fn windows_backward(
    dy: &Tensor,
    grids: &[Grid],
    windows: &Windows,
    channels: usize,
    dx: &mut Gradient<Tensor>,
) -> Result<()> {
    let sights = check::windows_backward(dy, grids, windows, channels, dx)?;
    add(dx, sights.positions, channels, &seen(&f64::all(&dy.values), &sights, windows, channels));
    Ok(())
}
