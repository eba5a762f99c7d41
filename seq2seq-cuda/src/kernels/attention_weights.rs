//! Attention probabilities from scores.

use super::attention::Scores;
use super::attention_plan::Work;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Precision;

static ARTIFACT: Artifact = artifact!("attention_weights");
static WEIGHTS: Kernel = Kernel::new(&ARTIFACT, "attention_weights");
static WEIGHTS_BF16: Kernel = Kernel::new(&ARTIFACT, "attention_weights_bf16");

/// Makes probabilities of scores in place, by the statistics `[N, H]` of the attention that gave both.
///
/// # Safety
/// `scores` has room behind each start for what its row sees in each head.
pub(crate) unsafe fn weights(
    cuda: &Cuda,
    scores: Scores<'_>,
    stats: &Buffer<[f32; 2]>,
    work: &Work,
    heads: usize,
) -> Result<()> {
    let rows = work.keys().len();
    assert_eq!((rows, rows * heads), (scores.starts.len(), stats.len()));
    let kernel = match work.precision() {
        Precision::F32 => &WEIGHTS,
        Precision::Bf16 => &WEIGHTS_BF16,
    };
    let launch = Launch::new(cuda, kernel)
        .grid(rows * heads, 1, 1)
        .block(128)
        .out(scores.values)
        .arg(stats)
        .arg(scores.starts)
        .arg(work.keys())
        .size(heads);
    // SAFETY: one start and one count a row, one pair of statistics a row and head; the rest is the caller's promise.
    unsafe { launch.run() }
}
