//! Windows of grids: copies.

use crate::Cpu;
use crate::memory::{Chunks, Tensor};
use seq2seq_core::backend::check::{self, Sight};
use seq2seq_core::{Grid, Result, Rows, Windows};

pub(crate) fn windows(cpu: &Cpu, x: &Tensor, grids: &[Grid], windows: &Windows) -> Result<Tensor> {
    let sights = check::windows(x, grids, windows)?;
    let (channels, width) = (x.width(), sights.width);
    let mut out = Tensor::scratch(sights.rows, width);
    cpu.threads().each_part(Chunks::<f32>::rows(&mut out), width / 4, |row, out| {
        let sight = sights.of_window(row);
        let out = &mut out[..width];
        // What few channels there are, as in an image, is not worth a call for each tap.
        match channels {
            1 => window::<1>(x, sight, windows, row, out),
            2 => window::<2>(x, sight, windows, row, out),
            3 => window::<3>(x, sight, windows, row, out),
            4 => window::<4>(x, sight, windows, row, out),
            _ => window::<0>(x, sight, windows, row, out),
        }
    });
    Ok(out)
}

/// The window at row `row`, of `C` channels; of any number where `C` is 0.
fn window<const C: usize>(
    x: &Tensor,
    sight: &Sight,
    windows: &Windows,
    row: usize,
    out: &mut [f32],
) {
    let channels = if C == 0 { x.width() } else { C };
    let [window_row, window_column] = sight.window(row);
    for (tap_row, out) in out.chunks_mut((windows.kernel[1] * channels).max(1)).enumerate() {
        let Some(y) = windows.place(0, (window_row, tap_row), sight.grid.height) else {
            out.fill(0.0);
            continue;
        };
        let line = sight.from + y * sight.grid.width;
        for (tap, out) in out.chunks_mut(channels).enumerate() {
            match windows.place(1, (window_column, tap), sight.grid.width) {
                Some(place) => out[..channels].copy_from_slice(&x.row(line + place)[..channels]),
                None => out.fill(0.0),
            }
        }
    }
}
