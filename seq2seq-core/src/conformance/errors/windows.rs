//! Windows of grids.

use super::{Calls, zeros};
use crate::{Grid, Result, SeqBackend, Windows};

pub(super) fn convolutions<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let x = backend.upload(&zeros(3, 4))?;
    let line = Windows::line(2, 1, 0);
    let mut refuse = |what, grids: &[Grid], windows: Windows| {
        calls.add(what, backend.windows(&x, grids, &windows));
    };
    refuse("rows of grids", &[Grid::line(2)], line);
    refuse("a grid that is too small", &[Grid::line(2), Grid::line(1)], line);
    refuse("grids that are too large", &[Grid::line(usize::MAX); 2], Windows::line(1, 1, 0));
    refuse("windows without taps", &[Grid::line(3)], Windows::line(0, 1, 0));
    refuse("windows that stay", &[Grid::line(3)], Windows { stride: [1, 0], ..line });
    refuse("taps that stay", &[], Windows { dilation: [0, 1], ..line });
    refuse("padding beyond counting", &[Grid::line(3)], Windows::line(1, 1, usize::MAX / 2));
    Ok(())
}
