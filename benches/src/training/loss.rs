//! The cross-entropy of logits, and its gradient.

use super::{Size, Training, data};
use crate::bench::{Bench, Call};
use crate::work::{SOFTMAX, Work};
use seq2seq_core::{Result, train::Smoothing, train::TrainBackend};

/// Rows of logits, each of which has a target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    rows: usize,
    vocabulary: usize,
    smoothing: Smoothing,
}

/// Of the logits of a batch.
pub(super) struct CrossEntropy;

impl Training for CrossEntropy {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        let (rows, vocabulary) = (size.target_rows(), size.vocabulary);
        let case = |smoothing| Case { rows, vocabulary, smoothing };
        vec![
            (format!("t5-base, {rows} rows"), case(Smoothing::None)),
            (format!("t5-base, {rows} rows, smoothed"), case(Smoothing::Uniform(0.1))),
        ]
    }
}

/// A logit: a log-softmax, whose largest is the one that is compared with the target, and the product that makes its exponential
/// its gradient. Smoothing adds the sum of all, and a difference of the gradient.
impl Bench for CrossEntropy {
    const NAME: &'static str = "cross_entropy";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let smoothing = if case.smoothing == Smoothing::None { 0 } else { 2 };
        let logits = case.rows * case.vocabulary;
        Work::f32(logits * (SOFTMAX + 1 + smoothing), 2 * logits)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, smoothing) = (backend.clone(), case.smoothing);
        let logits = data::rows(&backend, 1, [case.rows, case.vocabulary])?;
        let targets: Vec<_> =
            data::ids(2, case.rows, case.vocabulary).into_iter().map(Some).collect();
        Ok(Box::new(move || backend.cross_entropy(&logits, &targets, smoothing).map(drop)))
    }
}
