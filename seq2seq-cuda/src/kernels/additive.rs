//! Additive attention.

use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor, Together};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;
use std::ops::Range;

static ARTIFACT: Artifact = artifact!("additive", step);
static ADDITIVE: Kernel = Kernel::new(&ARTIFACT, "additive");
/// Which the kernel is written for.
const THREADS: usize = 256;

/// What is attended to, and with what.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    /// `[A]`
    pub(crate) v: &'a Buffer<f32>,
    /// `[positions, A]`
    pub(crate) keys: &'a Tensor,
    /// `[positions, M]`
    pub(crate) values: &'a Tensor,
}

/// First position and count of each span, on the device.
pub(super) fn flat(cuda: &Cuda, spans: &[Range<usize>]) -> Result<Buffer<u32>> {
    cuda.upload_values(&bounds(spans))
}

fn bounds(spans: &[Range<usize>]) -> Vec<u32> {
    spans.iter().flat_map(|s| [s.start as u32, s.len() as u32]).collect()
}

/// Row n of `q` attends to positions `spans[n]`, whose probabilities go to `weights`, from `starts[n]` on.
pub(crate) fn attend(
    cuda: &Cuda,
    q: &Tensor,
    operands: &Operands<'_>,
    (spans, starts): (&[Range<usize>], &[u64]),
    (weights, y): (&mut Buffer<f32>, &mut Tensor),
) -> Result<()> {
    let (columns, width, positions) = (q.width(), y.width(), operands.keys.rows());
    assert_eq!([spans.len(); 3], [q.rows(), y.rows(), starts.len()]);
    assert_eq!((columns, columns), (operands.v.len(), operands.keys.width()));
    assert_eq!((positions, width), (operands.values.rows(), operands.values.width()));
    assert!(spans.iter().all(|span| span.end <= positions));
    let room = |(span, start): (&Range<usize>, &u64)| *start as usize + span.len() <= weights.len();
    assert!(spans.iter().zip(starts).all(room));
    let (flat, starts) =
        Together::upload(cuda.pool(), |tables| (tables.add(&bounds(spans)), tables.add(starts)))?;
    let launch = Launch::new(cuda, &ADDITIVE)
        .grid(spans.len(), 1, 1)
        .block(THREADS)
        .arg(q.values())
        .arg(operands.keys.values())
        .arg(operands.values.values())
        .arg(operands.v)
        .arg(&flat)
        .arg(&starts)
        .size(columns)
        .size(width)
        .out(weights)
        .out(y.values_mut());
    // SAFETY: sizes agree and spans lie inside, as was just checked; each row has room for its probabilities.
    unsafe { launch.run() }
}
