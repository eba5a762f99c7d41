//! The best of each segment of a row of scores, and the sums of its softmax.

use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};

static ARTIFACT: Artifact = artifact!("best");
static BEST: Kernel = Kernel::new(&ARTIFACT, "best");

/// Scores of a segment.
const SEGMENT: usize = 4096;
/// Scores that a thread holds.
const HELD: usize = 16;

/// Segments of a row of `vocab` scores.
pub(crate) fn segments(vocab: usize) -> usize {
    vocab.div_ceil(SEGMENT)
}

/// Threads of a block: enough to hold a segment. Of V alone, as the order of the sums is.
fn threads(vocab: usize) -> usize {
    vocab.min(SEGMENT).div_ceil(HELD).next_multiple_of(32)
}

/// What is known of the segments of each row.
pub(crate) struct Segments {
    /// `[N, segments]`: largest score, sum of e^(score - largest).
    pub(super) parts: Buffer<[f32; 2]>,
    /// `[N, segments, k]`: score and id in one number, best first.
    pub(super) lists: Buffer<u64>,
    pub(super) k: usize,
}

/// The k best and the sums of each segment of `[N, vocab]` scores. k may be 0, for the sums alone.
pub(crate) fn best(cuda: &Cuda, scores: &Buffer<f32>, vocab: usize, k: usize) -> Result<Segments> {
    let (rows, segments) = (scores.len() / vocab, segments(vocab));
    assert_eq!(rows * vocab, scores.len());
    let mut found = Segments {
        parts: cuda.buffer(rows * segments)?,
        lists: cuda.buffer(rows * segments * k)?,
        k,
    };
    let launch = Launch::new(cuda, &BEST)
        .grid(rows, segments, 1)
        .block(threads(vocab))
        .arg(scores)
        .size(vocab)
        .size(k)
        .out(&mut found.parts)
        .out(&mut found.lists);
    // SAFETY: the scores are [N, vocab], with room for the parts and lists of all segments.
    unsafe { launch.run() }?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_hold_a_segment() {
        assert_eq!([1, 4096, 4097, 32128].map(segments), [1, 1, 2, 8]);
        assert_eq!([1, 513, 4096, 32128].map(threads), [32, 64, 256, 256]);
        assert!((1..9000).all(|v| threads(v) * HELD >= v.min(SEGMENT) && threads(v) <= 1024));
    }
}
