//! Draws of one id a row.

use super::chosen::Chosen;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Warp;

static ARTIFACT: Artifact = artifact!("sample");
static SAMPLE: Kernel = Kernel::new(&ARTIFACT, "sample");

/// Threads of a row of `vocab` scores. Of V alone, as the order of the sums is.
pub(super) fn threads(vocab: usize) -> usize {
    vocab.div_ceil(8).next_multiple_of(32).min(512)
}

/// The arguments that say what a warp keeps of `vocab` ids.
pub(super) fn warp<'l>(launch: Launch<'l>, warp: &Warp, vocab: usize) -> Launch<'l> {
    launch
        .arg(warp.temperature)
        .size(warp.top_k.min(vocab))
        .arg(warp.top_p)
        .arg(warp.min_p)
        .arg(warp.typical_p)
        .arg(warp.epsilon_cutoff)
        .arg(warp.eta_cutoff)
        .size(warp.min_keep.min(vocab))
}

/// One id a row of `[N, vocab]` scores, which are spent, and its log-probability, which is NaN where the row has no distribution.
/// The warp is in its ranges.
pub(crate) fn sample(
    cuda: &Cuda,
    (mut scores, vocab): (Buffer<f32>, usize),
    spec: &Warp,
    uniforms: &[f32],
) -> Result<Chosen> {
    let rows = uniforms.len();
    assert_eq!(rows * vocab, scores.len());
    let uniforms = cuda.upload_values(uniforms)?;
    let chosen = Chosen::new(cuda, rows, 0)?;
    let launch = Launch::new(cuda, &SAMPLE)
        .grid(rows, 1, 1)
        .block(threads(vocab))
        .out(&mut scores)
        .size(vocab);
    let launch = warp(launch, spec, vocab).arg(&uniforms).arg(chosen.ids()).arg(chosen.scores());
    // SAFETY: the scores are [N, vocab]; a uniform and room for a result for each row; whole warps.
    unsafe { launch.run() }?;
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    #[test]
    fn threads_are_whole_warps() {
        assert_eq!([1, 256, 257, 32128].map(super::threads), [32, 32, 64, 512]);
    }
}
