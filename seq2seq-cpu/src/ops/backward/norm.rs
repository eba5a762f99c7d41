//! LayerNorm and RMSNorm.

use super::begun;
use crate::kernels::backward::norm::{Columns, Run};
use crate::kernels::norm::Norm;
use crate::memory::{Buffer, Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::train::NormGradients;
use seq2seq_core::{NormKind, Result, Rows, backend::check};

/// Columns that one worker sums over all rows.
const COLUMNS: usize = 128;

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
    mut gradients: NormGradients<'_, Tensor>,
) -> Result<()> {
    let width = norm.weight.len();
    let runs = check::norm_backward(x, width, dy, &gradients)?;
    let mut moments = Buffer::<f32>::scratch(2 * runs);
    let row_width = x.width();
    let pairs = Chunks::new(&mut moments[..], 2 * (row_width / width));
    let row = |n: usize, pairs: &mut [f32], mut dx: Option<&mut [f32]>, add| {
        let runs = x.row(n).chunks(width).zip(dy.row(n).chunks(width));
        for (i, ((x, dy), pair)) in runs.zip(pairs.chunks_mut(2)).enumerate() {
            let dx = dx.as_deref_mut().map(|dx| &mut dx[i * width..][..width]);
            pair.copy_from_slice(&dispatch(cpu.isa(), Run { norm, x, dy, dx, add }));
        }
    };
    match &mut gradients.x {
        None => {
            cpu.threads().each_part(pairs, 4 * row_width, |n, pairs| row(n, pairs, None, false))
        }
        Some(gradient) => {
            let add = gradient.is_some();
            let dx = gradient.get_or_insert_with(|| Tensor::scratch(x.rows(), row_width));
            let parts = (pairs, Chunks::<f32>::rows(dx));
            cpu.threads().each_part(parts, 6 * row_width, |n, (pairs, dx)| {
                row(n, pairs, Some(dx), add);
            });
        }
    }
    let cost = 3 * runs * COLUMNS;
    let mut weight = gradients.weight.as_mut().map(|g| begun(cpu, g, [1, width]));
    let mut bias = gradients.bias.as_mut().map(|g| begun(cpu, g, [1, width]));
    let parts = (
        weight.as_mut().map(|t| Chunks::new(&mut t.values_mut()[..width], COLUMNS)),
        bias.as_mut().map(|t| Chunks::new(&mut t.values_mut()[..width], COLUMNS)),
    );
    if gradients_are_wanted(&parts) {
        cpu.threads().each_part(parts, cost, |i, (weight, bias)| {
            let columns = i * COLUMNS..width.min((i + 1) * COLUMNS);
            dispatch(cpu.isa(), Columns { x, dy, width, moments: &moments, columns, weight, bias });
        });
    }
    Ok(())
}

/// Whether there is anything to divide: parts of nothing would have no end.
fn gradients_are_wanted<T>(parts: &(Option<T>, Option<T>)) -> bool {
    parts.0.is_some() || parts.1.is_some()
}
