//! Back through LayerNorm and RMSNorm.

use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Tensor;
use crate::module::{Artifact, Kernel, artifact};
use crate::{Cuda, Norm};
use seq2seq_core::{NormKind, Rows};

static ARTIFACT: Artifact = artifact!("norm_back");
static NORM_BACK: Kernel = Kernel::new(&ARTIFACT, "norm_back");

/// Threads of a row, of its width alone.
fn threads(width: usize) -> usize {
    width.div_ceil(4).next_multiple_of(32).clamp(32, 1024)
}

/// `hat` = the normalised runs of the weights' width, which to the kernel are rows; `dx`, where it is wanted, is or gets the
/// gradient of x.
pub(crate) fn back(
    cuda: &Cuda,
    (x, dy): (&Tensor, &Tensor),
    norm: &Norm,
    hat: &mut Tensor,
    (dx, accumulate): (Option<&mut Tensor>, bool),
) -> Result<()> {
    let size = (x.rows(), x.width());
    assert_eq!((size, size), ((dy.rows(), dy.width()), (hat.rows(), hat.width())));
    let width = norm.weight.len();
    assert!(x.width().is_multiple_of(width));
    assert!(dx.as_ref().is_none_or(|dx| (dx.rows(), dx.width()) == size));
    let launch = Launch::new(cuda, &NORM_BACK)
        .grid(x.rows() * (x.width() / width), 1, 1)
        .block(threads(width))
        .arg(x.values())
        .arg(&norm.weight)
        .arg(dy.values())
        .size(width)
        .arg(norm.eps)
        .arg(i32::from(norm.kind == NormKind::Layer))
        .arg(i32::from(accumulate))
        .out(hat.values_mut());
    let launch = match dx {
        Some(dx) => launch.out(dx.values_mut()),
        None => launch.arg(0u64),
    };
    // SAFETY: all tensors are of one size, whole runs of as many columns as weight has, as was just checked.
    unsafe { launch.run() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn threads_are_whole_warps() {
        assert_eq!([1, 128, 129, 768, 9000].map(super::threads), [32, 32, 64, 192, 1024]);
    }
}
