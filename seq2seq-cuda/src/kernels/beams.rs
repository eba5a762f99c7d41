//! Which of the best ids of its hypotheses a beam search goes on with.

use super::chosen::Chosen;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Together};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Beams;

static ARTIFACT: Artifact = artifact!("beams");
static BEAMS: Kernel = Kernel::new(&ARTIFACT, "beams");

/// Finds the hypotheses that go on, for which `chosen`, the best ids of each of the rows, has room. Sizes are checked by the
/// caller.
pub(crate) fn beams(cuda: &Cuda, spec: &Beams<'_>, chosen: &Chosen) -> Result<()> {
    let &Beams { width, k, keep, scores, endings, .. } = spec;
    let (rows, keep) = (scores.len(), keep.min(width * k));
    assert!(rows.is_multiple_of(width) && width <= keep);
    assert_eq!((rows * k, rows), (chosen.count(), chosen.next()));
    let sources = rows / width;
    let (running, ends) =
        Together::upload(cuda.pool(), |tables| (tables.add(scores), tables.add(endings)))?;
    let mut heads: Buffer<i32> = cuda.buffer(rows)?;
    let mut entries: Buffer<[u32; 4]> = cuda.buffer(sources * keep)?;
    let launch = Launch::new(cuda, &BEAMS)
        .grid(sources, 1, 1)
        .arg(chosen.ids())
        .arg(chosen.scores())
        .size(k)
        .arg(&running)
        .size(width)
        .size(keep)
        .arg(&ends)
        .size(endings.len())
        .out(&mut heads)
        .out(&mut entries)
        .arg(chosen.next_ids())
        .arg(chosen.parents());
    // SAFETY: k ids and scores and a running score for each row, of which a source has `width`; room for a result for each row,
    // and for what is looked at of each source, which has so many continuations.
    unsafe { launch.run() }
}
