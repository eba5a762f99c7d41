//! Draws of k ids a row, without replacement.

use super::chosen::Chosen;
use super::sample::{threads, warp};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Warp;

static ARTIFACT: Artifact = artifact!("sample_k");
static SAMPLE_K: Kernel = Kernel::new(&ARTIFACT, "sample_k");

/// `[N, k]` ids of `[N, vocab]` scores, which are spent, and their scores after the warp, as log-probabilities where
/// `normalise`. The warp is in its ranges.
pub(crate) fn sample_k(
    cuda: &Cuda,
    (mut scores, vocab): (Buffer<f32>, usize),
    (k, normalise): (usize, bool),
    spec: &Warp,
    seeds: &[u64],
) -> Result<Chosen> {
    let rows = seeds.len();
    assert!(k <= vocab && rows * vocab == scores.len());
    let seeds = cuda.upload_values(seeds)?;
    let mut keys: Buffer<u64> = cuda.buffer(scores.len())?;
    let chosen = Chosen::new(cuda, rows * k, 0)?;
    let launch = Launch::new(cuda, &SAMPLE_K)
        .grid(rows, 1, 1)
        .block(threads(vocab))
        .out(&mut scores)
        .size(vocab);
    let launch = warp(launch, spec, vocab)
        .arg(&seeds)
        .out(&mut keys)
        .size(k)
        .arg(i32::from(normalise))
        .arg(chosen.ids())
        .arg(chosen.scores());
    // SAFETY: scores and keys are [N, vocab]; a seed and room for k results for each row; whole warps.
    unsafe { launch.run() }?;
    Ok(chosen)
}
