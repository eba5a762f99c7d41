//! The best of each row from those of its segments.

use super::best::{Segments, segments};
use super::chosen::Chosen;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};

static ARTIFACT: Artifact = artifact!("best_merge");
static MERGE: Kernel = Kernel::new(&ARTIFACT, "best_merge");

/// Ids of a vocabulary, at most: 1024 segments.
pub(crate) const MOST_IDS: usize = 1024 * 4096;

/// `[N, k]` ids and their scores, as log-probabilities where `normalise`; behind them room for `next` hypotheses that go on.
pub(crate) fn merge(
    cuda: &Cuda,
    (scores, vocab): (&Buffer<f32>, usize),
    found: &Segments,
    normalise: bool,
    next: usize,
) -> Result<Chosen> {
    let (rows, k) = (scores.len() / vocab, found.k);
    assert!(vocab <= MOST_IDS && k <= vocab && found.parts.len() == rows * segments(vocab));
    let chosen = Chosen::new(cuda, rows * k, next)?;
    let launch = Launch::new(cuda, &MERGE)
        .grid(rows, 1, 1)
        .arg(scores)
        .size(vocab)
        .size(segments(vocab))
        .size(k)
        .arg(&found.parts)
        .arg(&found.lists)
        .arg(i32::from(normalise))
        .arg(chosen.ids())
        .arg(chosen.scores());
    // SAFETY: each row has the parts and lists of its segments, and room for k results; there are at most 1024 segments.
    unsafe { launch.run() }?;
    Ok(chosen)
}
