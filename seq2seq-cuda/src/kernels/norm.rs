//! LayerNorm and RMSNorm.

use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Tensor;
use crate::module::{Artifact, Kernel, artifact};
use crate::{Cuda, Norm};
use seq2seq_core::{NormKind, Rows};

static ARTIFACT: Artifact = artifact!("norm", step);
static HELD: Kernel = Kernel::new(&ARTIFACT, "norm_held");
static WIDE: Kernel = Kernel::new(&ARTIFACT, "norm_wide");

/// Elements that a thread keeps.
const PER_THREAD: usize = 8;

/// Threads of a row, and whether they can keep it. Of the width alone, as the order of the sums is.
pub(super) fn threads(width: usize) -> (usize, bool) {
    let wanted = width.div_ceil(PER_THREAD).next_multiple_of(32);
    (wanted.clamp(32, 1024), wanted <= 1024)
}

/// Normalises each run of the weights' width of `x` into `y`. A tensor has no gaps: to the kernel the runs are rows.
pub(crate) fn norm(cuda: &Cuda, x: &Tensor, norm: &Norm, y: &mut Tensor) -> Result<()> {
    let width = norm.weight.len();
    assert_eq!((x.rows(), x.width()), (y.rows(), y.width()));
    assert!(x.width().is_multiple_of(width));
    let rows = x.rows() * (x.width() / width);
    let (threads, held) = threads(width);
    let launch = Launch::new(cuda, if held { &HELD } else { &WIDE })
        .grid(rows, 1, 1)
        .block(threads)
        .arg(x.values())
        .arg(&norm.weight)
        .arg(norm.bias.as_ref().map_or(0, |b| b.address()))
        .size(width)
        .arg(norm.eps)
        .arg(i32::from(norm.kind == NormKind::Layer))
        .out(y.values_mut());
    // SAFETY: x and y are as long as [rows, width], weight and bias (or null) [width]; threads are whole warps, and enough to
    // hold a row where the kernel holds it.
    unsafe { launch.run() }
}

#[cfg(test)]
mod tests {
    use super::threads;

    #[test]
    fn rows_are_held_where_threads_suffice() {
        assert_eq!([1, 256, 257, 768].map(threads), [32, 32, 64, 96].map(|t| (t, true)));
        assert_eq!((threads(8192), threads(8193)), ((1024, true), (1024, false)));
    }
}
