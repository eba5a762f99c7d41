//! Normalisations.

use super::{Size, Training, data};
use crate::bench::{Bench, Call};
use crate::work::Work;
use seq2seq_core::train::{NormGradients, TrainBackend};
use seq2seq_core::{NormKind, NormSpec, Result};

/// Over runs of M columns of N rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    kind: NormKind,
    rows: usize,
    runs: usize,
    width: usize,
}

impl Case {
    /// Vectors of the weights: LayerNorm has a bias.
    fn vectors(&self) -> usize {
        match self.kind {
            NormKind::Layer => 2,
            NormKind::Rms => 1,
        }
    }

    fn norm<B: TrainBackend>(&self, backend: &B) -> Result<B::Norm> {
        let bias = (self.kind == NormKind::Layer).then(|| data::host(2, [self.width], 1.0));
        backend.norm_weights(&NormSpec {
            kind: self.kind,
            eps: 1e-6,
            weight: data::host(1, [self.width], 1.0)?,
            bias: bias.transpose()?,
        })
    }
}

/// Once a step for every normalisation.
pub(super) struct RenewNorm;

impl Training for RenewNorm {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        let case = Case { kind: NormKind::Layer, rows: 0, runs: 1, width: size.width };
        vec![("bert-base".into(), case)]
    }
}

/// A copy.
impl Bench for RenewNorm {
    const NAME: &'static str = "renew_norm";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(0, 2 * case.vectors() * case.width)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, mut norm) = (backend.clone(), case.norm(backend)?);
        let weight = data::rows(&backend, 3, [1, case.width])?;
        let bias = match case.kind {
            NormKind::Layer => Some(data::rows(&backend, 4, [1, case.width])?),
            NormKind::Rms => None,
        };
        Ok(Box::new(move || backend.renew_norm(&mut norm, &weight, bias.as_ref())))
    }
}

/// Gradients of rows and weights.
pub(super) struct NormBackward;

impl Training for NormBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        let (rows, width) = (size.rows(), size.width);
        let whole = |kind| Case { kind, rows, runs: 1, width };
        // Queries of 16 heads as wide as a sixth of the rows, as those of Qwen3 0.6B.
        let heads = Case { kind: NormKind::Rms, rows, runs: 16, width: width / 6 };
        vec![
            (format!("bert-base, {rows} rows"), whole(NormKind::Layer)),
            (format!("t5-base, {rows} rows"), whole(NormKind::Rms)),
            (format!("qwen3-0.6b, queries of {rows} rows"), heads),
        ]
    }
}

/// An element of LayerNorm: the sum for the mean, the difference, its square and their sum; x̂ and g; the sums of g and of g x̂,
/// two; x̂ times its mean, two differences and the product with r; dy x̂ and its sum, the sum of dy. RMSNorm leaves out the sum
/// for the mean, the difference, the mean of g, which is summed and subtracted, and the sum of dy.
impl Bench for NormBackward {
    const NAME: &'static str = "norm_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let each = match case.kind {
            NormKind::Layer => 16,
            NormKind::Rms => 11,
        };
        let elements = case.rows * case.runs * case.width;
        // Of the weights one is read, and gradients of all are written.
        Work::f32(each * elements, 3 * elements + (1 + case.vectors()) * case.width)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, norm) = (backend.clone(), case.norm(backend)?);
        let shape = [case.rows, case.runs * case.width];
        let (x, dy) = (data::rows(&backend, 3, shape)?, data::rows(&backend, 4, shape)?);
        let biased = case.kind == NormKind::Layer;
        Ok(Box::new(move || {
            let [mut dx, mut weight, mut bias] = [const { None }; 3];
            let gradients = NormGradients {
                x: Some(&mut dx),
                weight: Some(&mut weight),
                bias: biased.then_some(&mut bias),
            };
            backend.norm_backward(&x, &norm, &dy, gradients)
        }))
    }
}
