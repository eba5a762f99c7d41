//! LayerNorm and RMSNorm.

use super::begun;
use crate::kernels::backward::norm::Block;
use crate::kernels::norm::Norm;
use crate::memory::{Buffer, Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::train::NormGradients;
use seq2seq_core::{NormKind, Result, Rows, backend::check};

/// Rows whose runs are summed by one worker, at least.
const BLOCK: usize = 32;

/// Blocks of rows, at most.
const MOST_BLOCKS: usize = 64;

/// Columns that one worker sums over all blocks.
const COLUMNS: usize = 512;

pub(super) fn renew(norm: &mut Norm, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    // LayerNorm without a bias has one of zeros, which may be given one.
    let has_bias = bias.is_some() && norm.kind == NormKind::Layer;
    check::renew_norm(norm.weight.len(), weight, (has_bias, bias))?;
    norm.weight.copy_from_slice(weight.row(0));
    if let Some(bias) = bias {
        norm.bias.copy_from_slice(bias.row(0));
    }
    Ok(())
}

pub(super) fn backward(
    cpu: &Cpu,
    x: &Tensor,
    norm: &Norm,
    dy: &Tensor,
    gradients: NormGradients<'_, Tensor>,
) -> Result<()> {
    let width = norm.weight.len();
    check::norm_backward(x, width, dy, &gradients)?;
    let NormGradients { x: dx, weight, bias } = gradients;
    let weighted = weight.is_some() || bias.is_some();
    if dx.is_none() && !weighted {
        return Ok(());
    }
    let (rows, row_width) = (x.rows(), x.width());
    let block = rows.div_ceil(MOST_BLOCKS).max(BLOCK);
    let add = dx.as_ref().is_some_and(|dx| dx.is_some());
    let dx = dx.map(|dx| dx.get_or_insert_with(|| Tensor::scratch(rows, row_width)));
    let stride = dx.as_ref().map_or(0, |dx| dx.stride());
    let blocks = if weighted { rows.div_ceil(block) } else { 0 };
    let mut sums = Buffer::<f32>::scratch(2 * width * blocks);
    let parts = (
        dx.map(|dx| Chunks::new(dx.values_mut(), block * stride)),
        weighted.then(|| Chunks::new(&mut sums[..], 2 * width)),
    );
    cpu.threads().each_part(parts, 8 * block * row_width, |i, (dx, sums)| {
        let rows = i * block..rows.min((i + 1) * block);
        dispatch(cpu.isa(), Block { norm, x, dy, rows, dx, stride, add, sums });
    });
    for (gradient, from) in [(weight, 0), (bias, width)] {
        let Some(gradient) = gradient else { continue };
        let out = &mut begun(cpu, gradient, [1, width]).values_mut()[..width];
        cpu.threads().each_part(Chunks::new(out, COLUMNS), blocks * COLUMNS, |i, out| {
            for sums in sums.chunks(2 * width) {
                let sums = &sums[from + i * COLUMNS..];
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
            }
        });
    }
    Ok(())
}
