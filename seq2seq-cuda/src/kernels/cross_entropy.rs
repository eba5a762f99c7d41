//! Cross-entropy with its gradient.

use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Tensor;
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;

static ARTIFACT: Artifact = artifact!("cross_entropy");
static CROSS_ENTROPY: Kernel = Kernel::new(&ARTIFACT, "cross_entropy");
const THREADS: usize = 256;

/// Writes the gradient and gives, of each row, -ln p of the target, Σ -ln p, and 1 where the target is the best; `a` and `b` are
/// the weights of the smoothing. Targets are checked by the caller. Waits for the losses.
pub(crate) fn cross_entropy(
    cuda: &Cuda,
    logits: &Tensor,
    targets: &[Option<u32>],
    (a, b): (f64, f64),
    gradient: &mut Tensor,
) -> Result<Vec<f32>> {
    let (rows, vocab) = (logits.rows(), logits.width());
    assert_eq!((rows, rows, vocab), (targets.len(), gradient.rows(), gradient.width()));
    let targets: Vec<i32> = targets.iter().map(|t| t.map_or(-1, |t| t as i32)).collect();
    let targets = cuda.upload_values(&targets)?;
    let mut losses = cuda.buffer(3 * rows)?;
    let launch = Launch::new(cuda, &CROSS_ENTROPY)
        .grid(rows, 1, 1)
        .block(THREADS)
        .arg(logits.values())
        .arg(&targets)
        .size(vocab)
        .arg(a as f32)
        .arg(b as f32)
        .out(&mut losses)
        .out(gradient.values_mut());
    // SAFETY: sizes agree, as was just checked; targets are negative or ids.
    unsafe { launch.run() }?;
    losses.download()
}
