//! The pages of hypotheses that continue others, the host not knowing which.

use super::attention_plan::Work;
use super::chosen::Chosen;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Table};
use crate::module::{Artifact, Kernel, artifact};

static ARTIFACT: Artifact = artifact!("kv_parents", step);
static PARENTS: Kernel = Kernel::new(&ARTIFACT, "kv_parents");

/// The page of each position of each hypothesis, which grows by a row: from those of the hypotheses before, behind which stands
/// the page of that row.
///
/// # Safety
/// `old` has an entry for each key of each span of `work`. The parent of each hypothesis is one of the spans, and has as many.
pub(crate) unsafe fn follow(
    cuda: &Cuda,
    old: &Table<u64>,
    work: &Work,
    chosen: &Chosen,
) -> Result<Buffer<u64>> {
    assert_eq!(chosen.next(), work.rows);
    let mut table = cuda.buffer_growing(old.len())?;
    let launch = Launch::new(cuda, &PARENTS)
        .grid(chosen.next(), 1, 1)
        .block(128)
        .arg(old)
        .arg(&work.spans)
        .arg(chosen.parents())
        .out(&mut table);
    // SAFETY: each hypothesis has a span and a parent; the rest is the caller's promise.
    unsafe { launch.run() }?;
    Ok(table)
}
