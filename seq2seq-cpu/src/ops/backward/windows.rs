//! Windows of grids, added up where they overlap.

use crate::kernels::backward::sum::AddScaled;
use crate::memory::{Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::backend::check;
use seq2seq_core::train::Gradient;
use seq2seq_core::{Grid, Result, Windows};

pub(super) fn windows_backward(
    cpu: &Cpu,
    dy: &Tensor,
    grids: &[Grid],
    windows: &Windows,
    channels: usize,
    dx: &mut Gradient<Tensor>,
) -> Result<()> {
    let sights = check::windows_backward(dy, grids, windows, channels, dx)?;
    let held = dx.is_some();
    let dx = dx.get_or_insert_with(|| Tensor::scratch(sights.positions, channels));
    let cost = sights.width / 4;
    cpu.threads().each_part(Chunks::<f32>::rows(dx), cost, |row, out| {
        let out = &mut out[..channels];
        if !held {
            out.fill(0.0);
        }
        let sight = sights.of_position(row);
        let [y, x] = sight.position(row);
        for tap_row in 0..windows.kernel[0] {
            let Some(line) = windows.window(0, (y, tap_row), sight.windows.height) else {
                continue;
            };
            for tap in 0..windows.kernel[1] {
                let Some(at) = windows.window(1, (x, tap), sight.windows.width) else { continue };
                let window = sight.to + line * sight.windows.width + at;
                let from = window * dy.stride() + (tap_row * windows.kernel[1] + tap) * channels;
                let x = &dy.values()[from..from + channels];
                dispatch(cpu.isa(), AddScaled { out: &mut *out, x, factor: 1.0 });
            }
        }
    });
    Ok(())
}
