//! Back through the windows of a convolution.

use super::{Size, Training, data};
use crate::bench::{Bench, Call};
use crate::work::Work;
use seq2seq_core::train::TrainBackend;
use seq2seq_core::{Grid, Result, Windows};

/// Lines of one length; windows of three places, every second one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    lines: usize,
    length: usize,
    channels: usize,
}

const WINDOWS: Windows =
    Windows { kernel: [1, 3], stride: [1, 2], padding: [0, 1], dilation: [1, 1] };

impl Case {
    fn rows(&self) -> usize {
        self.lines * WINDOWS.output(Grid::line(self.length)).map_or(0, Grid::positions)
    }

    fn width(&self) -> usize {
        WINDOWS.taps() * self.channels
    }
}

/// The second convolution of a speech encoder.
pub(super) struct WindowsBackward;

impl Training for WindowsBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        let case = Case { lines: size.sequences, length: 2 * size.source, channels: size.width };
        vec![(format!("3 places of {}, {} of {}", case.channels, case.lines, case.length), case)]
    }
}

/// A sum an element of `dy`.
impl Bench for WindowsBackward {
    const NAME: &'static str = "windows_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let seen = case.rows() * case.width();
        Work::f32(seen, seen + case.lines * case.length * case.channels)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, channels) = (backend.clone(), case.channels);
        let grids = vec![Grid::line(case.length); case.lines];
        let dy = data::rows(&backend, 1, [case.rows(), case.width()])?;
        Ok(Box::new(move || backend.windows_backward(&dy, &grids, &WINDOWS, channels, &mut None)))
    }
}
