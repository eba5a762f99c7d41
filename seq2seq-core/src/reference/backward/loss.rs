//! Cross-entropy with its gradient.

use super::{Real, Tensor};
use crate::backend::check;
use crate::reference::top_k::log_softmax;
use crate::train::{Loss, Smoothing};
use crate::{Result, Rows};

/// The gradient of one row: (a + b V) p - b, less a at the target.
pub(crate) fn gradient<R: Real>(scores: &[R], target: usize, smoothing: Smoothing) -> Vec<R> {
    let (a, b) = smoothing.weights(scores.len());
    let one = |(id, p): (usize, R)| p.minus(R::constant(b + if id == target { a } else { 0.0 }));
    R::softmax(scores).into_iter().enumerate().map(one).collect()
}

pub(super) fn cross_entropy(
    logits: &Tensor,
    targets: &[Option<u32>],
    smoothing: Smoothing,
) -> Result<(Loss, Tensor)> {
    check::cross_entropy(logits, targets, smoothing)?;
    let width = logits.width();
    let (a, b) = smoothing.weights(width);
    let mut loss = Loss::default();
    let mut out = Vec::with_capacity(logits.rows() * width);
    for (row, target) in logits.iter().zip(targets) {
        let Some(target) = target.map(|t| t as usize) else {
            out.extend(std::iter::repeat_n(0.0, width));
            continue;
        };
        let log_p = log_softmax(row);
        let nll = -log_p[target];
        // Without smoothing an impossible id is no matter.
        let rest = if b == 0.0 { 0.0 } else { -b * log_p.iter().sum::<f64>() };
        loss += Loss {
            sum: a * nll + rest,
            nll,
            tokens: 1,
            correct: usize::from(
                row[..target].iter().all(|v| *v < row[target])
                    && row[target..].iter().all(|v| *v <= row[target]),
            ),
        };
        let scores = f64::all(row);
        out.extend(gradient(&scores, target, smoothing).iter().map(|&g| g as f32));
    }
    Ok((loss, Tensor::new(logits.rows(), width, out)))
}
