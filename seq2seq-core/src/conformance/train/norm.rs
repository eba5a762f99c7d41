//! LayerNorm and RMSNorm.

use super::super::tolerance::Approx;
use super::super::values::{Profile, tensor, values};
use super::super::{Outcome, bits, each, host, width};
use super::{added, begun, gradient_values};
use crate::reference::{backward::norm::gradients, real::Real};
use crate::train::{Gradient, NormGradients, TrainBackend};
use crate::{DType, NormKind, NormSpec, Result};
use proptest::prelude::*;

/// A normalisation and its way back.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    width: usize,
    /// Runs of that width in a row.
    runs: usize,
    kind: NormKind,
    eps: f32,
    x: Profile,
    seed: u64,
}

fn cases() -> BoxedStrategy<Case> {
    let kind = proptest::sample::select(&[NormKind::Layer, NormKind::Rms][..]);
    let eps = proptest::sample::select(&[1e-5f32, 1e-6, 1e-12][..]);
    let x = proptest::sample::select(&[Profile::Normal, Profile::Normal, Profile::Wide][..]);
    // A row of one column is its own mean: its slopes are noise.
    let width = prop_oneof![10 => width().prop_map(|w| w.max(2)), 1 => Just(768usize)];
    let runs = prop_oneof![2 => Just(1usize), 1 => 2..=5usize];
    let case =
        |(rows, width, runs, kind, eps, x, seed)| Case { rows, width, runs, kind, eps, x, seed };
    (0..=40usize, width, runs, kind, eps, x, 0..1000u64).prop_map(case).boxed()
}

impl Case {
    fn weight(&self) -> Vec<f32> {
        values(Profile::Normal, self.seed + 1, self.width)
    }

    fn x(&self) -> Vec<f32> {
        values(self.x, self.seed, self.rows * self.row())
    }

    fn dy(&self) -> Vec<f32> {
        gradient_values(self.seed + 2, self.rows * self.row())
    }

    /// Columns of a row.
    fn row(&self) -> usize {
        self.runs * self.width
    }

    /// The gradients of x, weight and bias. The weights are renewed, from others.
    fn run<B: TrainBackend>(&self, backend: &B) -> Result<[Gradient<B::Tensor>; 3]> {
        let layer = self.kind == NormKind::Layer;
        let zeros = || tensor(DType::F32, vec![self.width], &vec![0.0; self.width]);
        let bias = layer.then(zeros);
        let spec = NormSpec { kind: self.kind, eps: self.eps, weight: zeros(), bias };
        let mut norm = backend.norm_weights(&spec)?;
        let weight = backend.upload(&host(1, self.width, &self.weight()))?;
        backend.renew_norm(&mut norm, &weight, layer.then_some(&weight))?;
        let x = backend.upload(&host(self.rows, self.row(), &self.x()))?;
        let dy = backend.upload(&host(self.rows, self.row(), &self.dy()))?;
        let mut dx = begun(backend, self.rows, self.row())?;
        let mut dw = begun(backend, 1, self.width)?;
        let mut db = None;
        let gradients = NormGradients {
            x: Some(&mut dx),
            weight: Some(&mut dw),
            bias: layer.then_some(&mut db),
        };
        backend.norm_backward(&x, &norm, &dy, gradients)?;
        Ok([dx, dw, db])
    }

    fn flat<B: TrainBackend>(&self, backend: &B) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        for gradient in self.run(backend)?.iter().flatten() {
            out.extend(backend.download(gradient)?);
        }
        Ok(out)
    }
}

/// Gradients lie within their bounds.
pub fn backward_matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    // More rows than a backend takes at once.
    for (kind, seed) in [(NormKind::Layer, 1), (NormKind::Rms, 2)] {
        let (rows, x) = (150, Profile::Normal);
        matches(backend, &Case { rows, width: 10, runs: 2, kind, eps: 1e-6, x, seed })?;
    }
    each(cases(), |case| matches(backend, case))
}

fn matches<B: TrainBackend>(backend: &B, case: &Case) -> Outcome {
    let all = Approx::all;
    let (weight, x, dy) = (all(&case.weight()), all(&case.x()), all(&case.dy()));
    let [dx, dw, db] = gradients((case.kind, case.eps), &weight, &x, &dy);
    let [got_x, got_w, got_b] = case.run(backend)?;
    added(backend, "dx", (&dx, 1), &got_x, true)?;
    added(backend, "dweight", (&dw, case.rows * case.runs), &got_w, true)?;
    match case.kind {
        NormKind::Layer => added(backend, "dbias", (&db, case.rows * case.runs), &got_b, false),
        NormKind::Rms => Ok(()),
    }
}

pub(super) fn same_bits(a: &impl TrainBackend, b: &impl TrainBackend) -> Outcome {
    let same = |case: &Case| bits("norm", &case.flat(a)?, &case.flat(b)?);
    for kind in [NormKind::Layer, NormKind::Rms] {
        same(&Case {
            rows: 500,
            width: 768,
            runs: 1,
            kind,
            eps: 1e-6,
            x: Profile::Normal,
            seed: 1,
        })?;
    }
    each(cases(), same)
}
