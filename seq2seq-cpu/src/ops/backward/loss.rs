//! Cross-entropy and dropout.

use crate::kernels::backward::loss::{CrossEntropy, Drop};
use crate::memory::{Buffer, Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::train::{Dropout, Loss, Smoothing};
use seq2seq_core::{Result, Rows, backend::check};

pub(super) fn apply_dropout(cpu: &Cpu, x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    check::dropout(Some(dropout))?;
    let width = x.width();
    let mut out = Tensor::scratch(x.rows(), width);
    cpu.threads().each_part(Chunks::<f32>::rows(&mut out), 8 * width, |row, out| {
        dispatch(cpu.isa(), Drop { dropout, row, x: x.row(row), y: &mut out[..width] });
    });
    Ok(out)
}

pub(super) fn cross_entropy(
    cpu: &Cpu,
    logits: &Tensor,
    targets: &[Option<u32>],
    smoothing: Smoothing,
) -> Result<(Loss, Tensor)> {
    check::cross_entropy(logits, targets, smoothing)?;
    let width = logits.width();
    let weights = smoothing.weights(width);
    let mut out = Tensor::scratch(logits.rows(), width);
    // nll, the sum over all ids, and whether it was the choice, for each row: added up in order below.
    let mut rows = Buffer::<f64>::scratch(3 * logits.rows());
    let parts = (Chunks::<f32>::rows(&mut out), Chunks::new(&mut rows[..], 3));
    cpu.threads().each_part(parts, 8 * width, |row, (gradient, sums)| {
        let Some(target) = targets[row] else {
            gradient[..width].fill(0.0);
            return;
        };
        let (scores, target) = (logits.row(row), target as usize);
        let gradient = &mut gradient[..width];
        let one = CrossEntropy { scores, target, weights, gradient };
        let (nll, all, correct) = dispatch(cpu.isa(), one);
        sums.copy_from_slice(&[nll, all, f64::from(u8::from(correct))]);
    });
    let (a, b) = weights;
    let mut loss = Loss::default();
    for sums in rows.chunks(3).zip(targets).filter_map(|(s, target)| target.map(|_| s)) {
        let rest = if b == 0.0 { 0.0 } else { b * sums[1] };
        let (sum, nll, correct) = (a * sums[0] + rest, sums[0], usize::from(sums[2] == 1.0));
        loss += Loss { sum, nll, tokens: 1, correct };
    }
    Ok((loss, out))
}
