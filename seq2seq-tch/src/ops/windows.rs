//! Windows of grids: rows that are chosen, of which one is zero.

use crate::fault::Result;
use crate::tensor::indices;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check::{self, Sights};
use seq2seq_core::{Grid, Rows, Windows};

pub(crate) fn windows(tch: &Tch, x: &Tensor, grids: &[Grid], windows: &Windows) -> Result<Tensor> {
    let sights = check::windows(x, grids, windows)?;
    let like = (x.values().kind(), x.values().device());
    let zero = tch::Tensor::f_zeros([1, x.width() as i64], like)?;
    let chosen = indices(taps(&sights, windows, x.rows()).into_iter(), tch.device())?;
    let values = tch::Tensor::f_cat(&[x.values(), &zero], 0)?.f_index_select(0, &chosen)?;
    let shape = [sights.rows as i64, sights.width as i64];
    Tensor::new(sights.rows, sights.width, values.f_reshape(shape)?)
}

/// The row that each tap of each window sees; `outside` for what lies outside.
pub(crate) fn taps(sights: &Sights, windows: &Windows, outside: usize) -> Vec<usize> {
    let mut rows = Vec::with_capacity(sights.rows * windows.taps());
    for row in 0..sights.rows {
        let sight = sights.of_window(row);
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
