//! Windows of grids, added up where they overlap.

use super::{add, zeros};
use crate::fault::Result;
use crate::ops::windows::taps;
use crate::tensor::indices;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::Gradient;
use seq2seq_core::{Grid, Rows, Windows};

pub(crate) fn windows_backward(
    tch: &Tch,
    dy: &Tensor,
    grids: &[Grid],
    windows: &Windows,
    channels: usize,
    dx: &mut Gradient<Tensor>,
) -> Result<()> {
    let sights = check::windows_backward(dy, grids, windows, channels, dx)?;
    let rows = sights.positions;
    let seen = indices(taps(&sights, windows, rows).into_iter(), tch.device())?;
    let taps = [(dy.rows() * windows.taps()) as i64, channels as i64];
    // What lies outside is added to a row of its own.
    let sums =
        zeros(tch, rows + 1, channels)?.f_index_add(0, &seen, &tch.wide(dy)?.f_reshape(taps)?)?;
    add(tch, dx, [rows, channels], &sums.f_narrow(0, 0, rows as i64)?)
}
