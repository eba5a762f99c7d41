//! Additive attention.

use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;
use std::ops::Range;

static ARTIFACT: Artifact = artifact!("additive");
static ADDITIVE: Kernel = Kernel::new(&ARTIFACT, "additive");
/// Which the kernel is written for.
const THREADS: usize = 256;

/// What is attended to, and with what.
pub(crate) struct Operands<'a> {
    /// `[A]`
    pub(crate) v: &'a Buffer<f32>,
    /// `[positions, A]`
    pub(crate) keys: &'a Tensor,
    /// `[positions, M]`
    pub(crate) values: &'a Tensor,
}

/// Row n of `q` attends to positions `spans[n]`; gives the probabilities of all rows, one after the other.
pub(crate) fn attend(
    cuda: &Cuda,
    q: &Tensor,
    operands: &Operands<'_>,
    spans: &[Range<usize>],
    y: &mut Tensor,
) -> Result<Buffer<f32>> {
    let (columns, width, positions) = (q.width(), y.width(), operands.keys.rows());
    assert_eq!((spans.len(), spans.len()), (q.rows(), y.rows()));
    assert_eq!((columns, columns), (operands.v.len(), operands.keys.width()));
    assert_eq!((positions, width), (operands.values.rows(), operands.values.width()));
    assert!(spans.iter().all(|span| span.end <= positions));
    let flat: Vec<u32> =
        spans.iter().flat_map(|span| [span.start as u32, span.len() as u32]).collect();
    let mut total = 0;
    let start = |span: &Range<usize>| {
        total += span.len();
        (total - span.len()) as u64
    };
    let starts: Vec<u64> = spans.iter().map(start).collect();
    let (flat, starts) = (cuda.upload_values(&flat)?, cuda.upload_values(&starts)?);
    let mut weights = cuda.buffer(total)?;
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
        .out(&mut weights)
        .out(y.values_mut());
    // SAFETY: sizes agree and spans lie inside, as was just checked; each row has room for its probabilities.
    unsafe { launch.run() }?;
    Ok(weights)
}
