//! Windows of grids, as they are said to lie: from place to place in signed numbers.

use super::{added, normal, slopes, tensor};
use seq2seq_core::reference::Reference;
use seq2seq_core::train::TrainConvolutionOps;
use seq2seq_core::*;

/// Channels of a position.
const CHANNELS: usize = 2;

/// The windows of one grid.
fn seen(x: &[f64], grid: Grid, windows: &Windows) -> Vec<f64> {
    let [kernel, stride, padding, dilation] =
        [windows.kernel, windows.stride, windows.padding, windows.dilation]
            .map(|n| n.map(|n| n as i64));
    let sizes = [grid.height as i64, grid.width as i64];
    let count = |axis: usize| {
        (sizes[axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis]
            + 1
    };
    let place = |axis: usize, window: i64, tap: i64| {
        window * stride[axis] - padding[axis] + tap * dilation[axis]
    };
    let mut y = Vec::new();
    for row in 0..count(0) {
        for column in 0..count(1) {
            for tap in 0..kernel[0] * kernel[1] {
                let at = [place(0, row, tap / kernel[1]), place(1, column, tap % kernel[1])];
                let inside = (0..2).all(|axis| (0..sizes[axis]).contains(&at[axis]));
                for channel in 0..CHANNELS {
                    let position = (at[0] * sizes[1] + at[1]) as usize;
                    y.push(if inside { x[position * CHANNELS + channel] } else { 0.0 });
                }
            }
        }
    }
    y
}

#[test]
fn windows_of_grids() {
    let grids = [Grid { height: 4, width: 5 }, Grid { height: 3, width: 7 }];
    let windows = Windows { kernel: [2, 3], stride: [1, 2], padding: [1, 0], dilation: [2, 1] };
    let positions: usize = grids.iter().map(|grid| grid.positions()).sum();
    let x = normal(1, positions * CHANNELS);
    let run = |x: &[f64]| {
        let (first, second) = x.split_at(grids[0].positions() * CHANNELS);
        [seen(first, grids[0], &windows), seen(second, grids[1], &windows)].concat()
    };
    let want = run(&super::wide(&x));
    let y = Reference.windows(&tensor(positions, CHANNELS, &x), &grids, &windows).unwrap();
    super::close("windows", &want, &super::download(&y));
    let dy = normal(2, want.len());
    let mut dx = Some(tensor(positions, CHANNELS, &vec![0.25; x.len()]));
    let dy_t = tensor(y.rows(), y.width(), &dy);
    Reference.windows_backward(&dy_t, &grids, &windows, CHANNELS, &mut dx).unwrap();
    added("windows", 0.25, &slopes(&x, &dy, run), &dx);
}
