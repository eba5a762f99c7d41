//! Windows of grids: copies, to the bit.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::windows, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! windows::match_reference(&backend)?;
//! windows::are_batch_invariant(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Grid, Windows, reference::Reference};
//! use seq2seq_core::conformance::{Op, windows::{Case, Seen}};
//!
//! let case = Case { grids: vec![Grid::line(3)], channels: 2, windows: Windows::line(2, 1, 0), seed: 1 };
//! let (x, y) = (case.x().to_f32(), Seen::run(&Reference, &case)?);
//! assert_eq!((&y[..4], &y[4..]), (&x[..4], &x[2..]));
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::values::{Profile, values};
use super::{Cases, Op, Outcome, Timed, bits, each, host, on_host, rows_of, run_timed};
use crate::reference::Reference;
use crate::{Grid, HostTensor, Result, SeqBackend, Windows};
use proptest::prelude::*;

/// Grids and what is seen of them.
#[derive(Debug, Clone)]
pub struct Case {
    /// Of each item of the batch.
    pub grids: Vec<Grid>,
    /// C
    pub channels: usize,
    /// Which.
    pub windows: Windows,
    /// Of all values.
    pub seed: u64,
}

/// Grids without positions, however long.
const EMPTY: [Grid; 2] = [Grid { height: 0, width: 3 }, Grid { height: usize::MAX, width: 0 }];

impl Case {
    /// Rows of x.
    pub fn positions(&self) -> usize {
        self.grids.iter().map(|grid| grid.positions()).sum()
    }

    /// Rows of the result.
    pub fn rows(&self) -> usize {
        let windows = |&grid: &Grid| self.windows.output(grid).map_or(0, Grid::positions);
        self.grids.iter().map(windows).sum()
    }

    /// `[positions, C]`
    pub fn x(&self) -> HostTensor {
        let rows = self.positions();
        host(rows, self.channels, &values(Profile::Wide, self.seed, rows * self.channels))
    }

    /// Some grids of each kind, among them such without positions, windows that lie in the padding alone and others that leave
    /// places out.
    pub(super) fn any() -> BoxedStrategy<Self> {
        let axis = || {
            (1..=4usize, 1..=4usize, 1..=3usize).prop_flat_map(|(kernel, stride, dilation)| {
                (Just([kernel, stride, dilation]), 0..=kernel)
            })
        };
        let channels = proptest::sample::select(&[1usize, 2, 3, 4, 7, 16, 33][..]);
        (axis(), axis(), any::<bool>(), channels, 0..1000u64)
            .prop_flat_map(|(rows, columns, line, channels, seed)| {
                let ([kh, sh, dh], ph) = if line { ([1; 3], 0) } else { rows };
                // More than a block of a GPU has threads.
                let channels = if line && seed % 4 == 0 { 300 } else { channels };
                let ([kw, sw, dw], pw) = columns;
                let windows = Windows {
                    kernel: [kh, kw],
                    stride: [sh, sw],
                    padding: [ph, pw],
                    dilation: [dh, dw],
                };
                let least = |kernel: usize, dilation: usize, padding: usize| {
                    ((kernel - 1) * dilation + 1).saturating_sub(2 * padding).max(1)
                };
                let (height, width) = (least(kh, dh, ph), least(kw, dw, pw));
                let most = if line { height } else { height + 5 };
                let grid = prop_oneof![
                    1 => proptest::sample::select(&EMPTY[..]),
                    9 => (height..=most, width..=width + 9)
                        .prop_map(|(height, width)| Grid { height, width }),
                ];
                let grids = proptest::collection::vec(grid, 0..=3);
                grids.prop_map(move |grids| Self { grids, channels, windows, seed })
            })
            .boxed()
    }
}

/// [`ConvolutionOps::windows`](crate::ConvolutionOps::windows).
pub struct Seen;

impl Op for Seen {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        run_timed::<B, Self>(backend, case)
    }
}

impl Cases for Seen {
    fn cases() -> BoxedStrategy<Case> {
        Case::any()
    }
}

impl Timed for Seen {
    const NAME: &'static str = "windows";
    type Prepared<B: SeqBackend> = (B::Tensor, Case);
    type Output<B: SeqBackend> = B::Tensor;

    fn real() -> Vec<(String, Case)> {
        let sound =
            |channels, windows| Case { grids: vec![Grid::line(3000)], channels, windows, seed: 1 };
        let image = Grid { height: 224, width: 224 };
        let patches =
            Case { grids: vec![image; 8], channels: 3, windows: Windows::patches(16), seed: 1 };
        vec![
            ("whisper-tiny, first".into(), sound(80, Windows::line(3, 1, 1))),
            ("whisper-tiny, second".into(), sound(384, Windows::line(3, 2, 1))),
            ("vit-base, 8 images".into(), patches),
        ]
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Self::Prepared<B>> {
        Ok((backend.upload(&case.x())?, case.clone()))
    }

    fn call<B: SeqBackend>(backend: &B, (x, case): &mut Self::Prepared<B>) -> Result<B::Tensor> {
        backend.windows(x, &case.grids, &case.windows)
    }
}

/// Each tap has the bits of its position, or those of zero.
pub fn match_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(Seen::cases(), |case| {
        bits("windows", &Seen::run(&Reference, case)?, &Seen::run(backend, case)?)
    })
}

/// The windows of a grid alone are those that it has among the others.
pub fn are_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(Seen::cases(), |case| {
        let (x, whole) = (case.x(), Seen::run(backend, case)?);
        let (mut from, mut rest) = (0, &whole[..]);
        for grid in &case.grids {
            let own = from..from + grid.positions();
            from = own.end;
            let got = on_host(backend, &rows_of(&x, own), |x| {
                backend.windows(x, &[*grid], &case.windows)
            })?;
            let (expected, others) = rest.split_at(got.len().min(rest.len()));
            bits("a grid alone", expected, &got)?;
            rest = others;
        }
        Ok(())
    })
}
