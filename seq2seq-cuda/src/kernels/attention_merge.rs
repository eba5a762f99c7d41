//! The parts of attention put together.

use super::attention::Attention;
use super::attention_split::Parts;
use super::rows::Operand;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::{Precision, Rows};

static ARTIFACT: Artifact = artifact!("attention_merge", step);
static MERGE: Kernel = Kernel::new(&ARTIFACT, "attention_merge");
static MERGE_BF16: Kernel = Kernel::new(&ARTIFACT, "attention_merge_bf16");

/// Merges `chunks` parts of each row and head into the results of those that see more than one.
pub(super) fn merge(
    cuda: &Cuda,
    parts: &Parts,
    call: &Attention<'_>,
    chunks: usize,
    (out, operand): (&mut Tensor, Option<&mut Operand>),
    stats: Option<&mut Buffer<[f32; 2]>>,
) -> Result<()> {
    let (heads, width) = (call.spec.heads, call.spec.head_dim);
    let vectors = out.rows() * heads;
    assert_eq!((vectors * width, vectors * chunks), (out.values().len(), parts.stats.len()));
    let kernel = match call.paged.precision {
        Precision::F32 => &MERGE,
        Precision::Bf16 => &MERGE_BF16,
    };
    let launch = Launch::new(cuda, kernel)
        .grid(vectors, 1, 1)
        .block(width.next_multiple_of(32))
        .out(out.values_mut())
        .arg(stats.map_or(0, |s| s.address()))
        .arg(&parts.values)
        .arg(&parts.stats)
        .size(chunks)
        .arg(call.work.keys())
        .size(heads)
        .size(width);
    let launch = call.lay_out(launch, operand);
    // SAFETY: there are `chunks` parts of each row and head, and each row sees no more than these; stats are `[N, H]`, which
    // `Attention::run` has checked.
    unsafe { launch.run() }
}
