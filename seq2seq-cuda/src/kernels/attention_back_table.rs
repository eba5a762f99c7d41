//! The gradient of a relative bias.

use super::attention_back_plan::Plan;
use super::column_threads;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;

static ARTIFACT: Artifact = artifact!("attention_back_table");
static DISTANCES: Kernel = Kernel::new(&ARTIFACT, "attention_back_distances");
static TABLE: Kernel = Kernel::new(&ARTIFACT, "attention_back_table");
/// Distances of a block, and its threads.
const DISTANCES_OF_BLOCK: usize = 32;
const THREADS: usize = 256;

/// Adds to `table`, `[buckets, H]`, whose bucket of distance d is `bucket(d)`, what blocks have summed by distance.
pub(crate) fn table(
    cuda: &Cuda,
    (plan, parts): (&Plan, &Buffer<f32>),
    bucket: impl Fn(isize) -> usize,
    table: &mut Tensor,
) -> Result<()> {
    assert_eq!(parts.len(), plan.distances);
    let longest = plan.seen().rows().longest();
    let reach = longest as isize;
    let buckets: Vec<u32> = (1 - reach..reach).map(|d| bucket(d) as u32).collect();
    let (distances, heads) = (buckets.len(), table.width());
    let buckets = cuda.upload_values(&buckets)?;
    let mut by_distance = cuda.buffer::<f32>(distances * heads)?;
    let launch = Launch::new(cuda, &DISTANCES)
        .grid(distances.div_ceil(DISTANCES_OF_BLOCK), heads, 1)
        .block(THREADS)
        .arg(parts)
        .arg(&plan.places)
        .size(plan.places.len())
        .size(longest)
        .size(distances)
        .out(&mut by_distance);
    // SAFETY: parts are as the plan places them; there is a place for each distance and head.
    unsafe { launch.run() }?;
    let launch = Launch::new(cuda, &TABLE)
        .grid(table.rows(), 1, 1)
        .block(column_threads(heads))
        .arg(&by_distance)
        .arg(&buckets)
        .size(distances)
        .size(heads)
        .out(table.values_mut());
    // SAFETY: each distance has a bucket; table is [buckets, H].
    unsafe { launch.run() }
}
