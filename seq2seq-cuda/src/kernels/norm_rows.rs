//! Normalised rows, and what the linear layers behind them read.

use super::linear::FEW_ROWS;
use super::norm::threads;
use super::operands::Operands;
use super::rows::{Operand, TILE};
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Tensor;
use crate::module::{Artifact, Kernel, artifact};
use crate::{Cuda, Norm};
use seq2seq_core::{NormKind, Rows};

static ARTIFACT: Artifact = artifact!("norm_rows", step);
static BF16: Kernel = Kernel::new(&ARTIFACT, "norm_rows_bf16");
static BF16_SWIZZLED: Kernel = Kernel::new(&ARTIFACT, "norm_rows_bf16_swizzled");
static U8: Kernel = Kernel::new(&ARTIFACT, "norm_rows_u8");
static U8_SWIZZLED: Kernel = Kernel::new(&ARTIFACT, "norm_rows_u8_swizzled");

/// The kernel that lays rows of `x` out so; none where layers read them as they are, or a block cannot hold a row.
fn kernel(x: &Tensor, norm: &Norm, operands: Operands) -> Option<&'static Kernel> {
    let whole = x.width() == norm.weight.len() && threads(x.width()).1;
    match operands {
        _ if !whole || x.rows() <= FEW_ROWS => None,
        Operands::F32 | Operands::F16 => None,
        Operands::Bf16 => Some(&BF16),
        Operands::Bf16Swizzled => Some(&BF16_SWIZZLED),
        Operands::Int8 | Operands::Int4 => Some(&U8),
        Operands::Int8Swizzled => Some(&U8_SWIZZLED),
    }
}

/// Normalises the rows of `x` into `y`, and into what it gives; nothing is done where there is no kernel for it.
pub(crate) fn norm_rows(
    cuda: &Cuda,
    x: &Tensor,
    norm: &Norm,
    operands: Operands,
    y: &mut Tensor,
) -> Result<Option<Operand>> {
    let Some(kernel) = kernel(x, norm, operands) else { return Ok(None) };
    assert_eq!((x.rows(), x.width()), (y.rows(), y.width()));
    let mut operand = Operand::unset(cuda, x.rows(), x.width(), operands)?;
    let depth = operand.depth();
    let launch = Launch::new(cuda, kernel)
        .grid(x.rows().next_multiple_of(TILE), 1, 1)
        .block(threads(x.width()).0)
        .arg(x.values())
        .arg(&norm.weight)
        .arg(norm.bias.as_ref().map_or(0, |b| b.address()))
        .size(x.width())
        .arg(norm.eps)
        .arg(i32::from(norm.kind == NormKind::Layer))
        .out(y.values_mut())
        .size(x.rows())
        .size(depth)
        .out(&mut operand.values);
    let launch = match &mut operand.quantised {
        Some((scales, zeros)) => launch.out(scales).out(zeros),
        None => launch.arg(0u64).arg(0u64),
    };
    // SAFETY: x and y are [rows, width], weight and bias (or null) [width]; threads are whole warps, enough to hold a row of whole
    // slabs, which are no wider than 256 columns; `operand` has whole tiles of `depth` columns, a scale and a zero point for each row.
    unsafe { launch.run() }?;
    Ok(Some(operand))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_hold_what_rows_are_padded_with() {
        let all = [
            Operands::Bf16,
            Operands::Bf16Swizzled,
            Operands::Int8,
            Operands::Int8Swizzled,
            Operands::Int4,
        ];
        for operands in all {
            for width in 1..=8192usize {
                let (threads, held) = threads(width);
                assert!(held && width.next_multiple_of(operands.slab()) <= 8 * threads);
            }
        }
    }
}
