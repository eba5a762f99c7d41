//! Windows of grids: rows that are chosen, of which one is zero.

use crate::fault::Result;
use crate::tensor::indices;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check::{self, Sight};
use seq2seq_core::{Grid, Rows, Windows};

pub(crate) fn windows(tch: &Tch, x: &Tensor, grids: &[Grid], windows: &Windows) -> Result<Tensor> {
    let sights = check::windows(x, grids, windows)?;
    let (rows, width) = (windows_of(&sights), windows.taps() * x.width());
    let like = (x.values().kind(), x.values().device());
    let zero = tch::Tensor::f_zeros([1, x.width() as i64], like)?;
    let chosen = indices(taps(&sights, windows, x.rows()).into_iter(), tch.device())?;
    let values = tch::Tensor::f_cat(&[x.values(), &zero], 0)?.f_index_select(0, &chosen)?;
    Tensor::new(rows, width, values.f_reshape([rows as i64, width as i64])?)
}

/// How many windows there are.
fn windows_of(sights: &[Sight]) -> usize {
    sights.last().map_or(0, |last| last.to + last.windows.positions())
}

/// The row that each tap of each window sees; `outside` for what lies outside.
pub(crate) fn taps(sights: &[Sight], windows: &Windows, outside: usize) -> Vec<usize> {
    let mut rows = Vec::with_capacity(windows_of(sights) * windows.taps());
    for row in 0..windows_of(sights) {
        let sight = Sight::of_window(sights, row);
        let [y, x] = sight.window(row);
        for tap in 0..windows.taps() {
            let (tap_row, tap) = (tap / windows.kernel[1], tap % windows.kernel[1]);
            let y = windows.place(0, (y, tap_row), sight.grid.height);
            let x = windows.place(1, (x, tap), sight.grid.width);
            rows.push(match (y, x) {
                (Some(y), Some(x)) => sight.from + y * sight.grid.width + x,
                _ => outside,
            });
        }
    }
    rows
}
