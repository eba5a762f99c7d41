//! Cross-entropy and dropout.

use crate::memory::Tensor;
use crate::{Cuda, kernels};
use seq2seq_core::backend::check;
use seq2seq_core::train::{Dropout, Loss, Smoothing};
use seq2seq_core::{Result, Rows};

pub(crate) fn cross_entropy(
    cuda: &Cuda,
    logits: &Tensor,
    targets: &[Option<u32>],
    smoothing: Smoothing,
) -> Result<(Loss, Tensor)> {
    check::cross_entropy(logits, targets, smoothing)?;
    let (a, b) = smoothing.weights(logits.width());
    let mut gradient = cuda.tensor(logits.rows(), logits.width())?;
    let rows = kernels::cross_entropy::cross_entropy(cuda, logits, targets, (a, b), &mut gradient)?;
    let mut loss = Loss::default();
    for (row, _) in rows.as_chunks::<3>().0.iter().zip(targets).filter(|(_, t)| t.is_some()) {
        let [nll, all, best] = row.map(f64::from);
        // Without smoothing an impossible id is no matter.
        let rest = if b == 0.0 { 0.0 } else { b * all };
        loss += Loss { sum: a * nll + rest, nll, tokens: 1, correct: usize::from(best > 0.0) };
    }
    Ok((loss, gradient))
}

pub(crate) fn apply_dropout(cuda: &Cuda, x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    check::dropout(Some(dropout))?;
    let mut y = cuda.tensor(x.rows(), x.width())?;
    kernels::elementwise::apply_dropout(cuda, x, dropout, &mut y)?;
    Ok(y)
}
