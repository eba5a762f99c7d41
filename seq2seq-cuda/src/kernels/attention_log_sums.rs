//! ln Σ e^score of what attention left of each row and head.

use super::elementwise::each;
use crate::Cuda;
use crate::driver::Result;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};

static ARTIFACT: Artifact = artifact!("attention_log_sums");
static LOG_SUMS: Kernel = Kernel::new(&ARTIFACT, "attention_log_sums");

/// `[N, H]`, of as many statistics.
pub(crate) fn log_sums(cuda: &Cuda, stats: &Buffer<[f32; 2]>, heads: usize) -> Result<Tensor> {
    let mut sums = cuda.tensor(stats.len() / heads, heads)?;
    assert_eq!(stats.len(), sums.values().len());
    let launch = each(cuda, &LOG_SUMS, stats.len()).arg(stats).arg(stats.len() as i64);
    let launch = launch.out(sums.values_mut());
    // SAFETY: both have as many elements.
    unsafe { launch.run() }?;
    Ok(sums)
}
