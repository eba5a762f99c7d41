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
    let Grid { height, width } = sight.grid;
    let [window_row, window_column] = sight.window(row);
    // Zeros, the taps that see a place, the first of them `begin`, and zeros.
    let columns = windows.taps_within(1, window_column, width);
    let begin = windows.place(1, (window_column, columns.start), width);
    let line = windows.kernel[1] * channels;
    for (tap_row, out) in out.chunks_exact_mut(line.max(1)).enumerate() {
        let y = windows.place(0, (window_row, tap_row), height);
        let (Some(y), Some(begin)) = (y, begin) else {
            out.fill(0.0);
            continue;
        };
        let (before, out) = out.split_at_mut(columns.start * channels);
        let (seen, behind) = out.split_at_mut(columns.len() * channels);
        before.fill(0.0);
        behind.fill(0.0);
        let first = sight.from + y * width + begin;
        for (tap, out) in seen.chunks_exact_mut(channels).enumerate() {
            out.copy_from_slice(&x.row(first + tap * windows.dilation[1])[..channels]);
        }
    }
}
