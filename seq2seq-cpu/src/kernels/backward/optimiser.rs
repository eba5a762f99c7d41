//! Steps of optimisers on one row of a parameter.

use crate::simd::{Kernel, Simd};
use seq2seq_core::train::AdamW as Settings;

/// AdamW; the constants of a step are computed once for all rows.
#[derive(Clone, Copy)]
pub(crate) struct AdamWStep {
    /// β₁, 1 - β₁, β₂, 1 - β₂
    betas: [f32; 4],
    scale: f32,
    /// 1 - rate · decay
    kept: f32,
    /// rate / (1 - β₁ᵗ)
    rate: f32,
    /// 1 / √(1 - β₂ᵗ)
    root: f32,
    eps: f32,
}

impl AdamWStep {
    pub(crate) fn new(settings: &Settings) -> Self {
        let [beta1, beta2] = settings.betas;
        let (rate, step) = (f64::from(settings.rate), settings.step as i32);
        Self {
            betas: [beta1, 1.0 - beta1, beta2, 1.0 - beta2].map(|b| b as f32),
            scale: settings.gradient_scale,
            kept: (1.0 - rate * f64::from(settings.decay)) as f32,
            rate: (rate / (1.0 - beta1.powi(step))) as f32,
            root: (1.0 / (1.0 - beta2.powi(step)).sqrt()) as f32,
            eps: settings.eps,
        }
    }
}

/// One row.
pub(crate) struct AdamWRow<'a> {
    pub(crate) step: AdamWStep,
    pub(crate) gradient: &'a [f32],
    pub(crate) parameter: &'a mut [f32],
    pub(crate) first: &'a mut [f32],
    pub(crate) second: &'a mut [f32],
}

impl Kernel for AdamWRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { step, gradient, parameter, first, second } = self;
        let [beta1, rest1, beta2, rest2] = step.betas;
        let moments = first.iter_mut().zip(second);
        for ((p, &g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
            let g = g * step.scale;
            *m = beta1 * *m + rest1 * g;
            *v = beta2 * *v + rest2 * (g * g);
            let root = v.sqrt() * step.root + step.eps;
            *p = *p * step.kept - step.rate * (*m / root);
        }
    }
}

/// Stochastic gradient descent on one row; `momentum` is 0 at the first step, when `velocity` holds zeros.
pub(crate) struct SgdRow<'a> {
    pub(crate) settings: seq2seq_core::train::Sgd,
    pub(crate) gradient: &'a [f32],
    pub(crate) parameter: &'a mut [f32],
    pub(crate) velocity: &'a mut [f32],
}

impl Kernel for SgdRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { settings, gradient, parameter, velocity } = self;
        for ((p, &g), b) in parameter.iter_mut().zip(gradient).zip(velocity) {
            let g = g * settings.gradient_scale + settings.decay * *p;
            *b = settings.momentum * *b + g;
            *p -= settings.rate * *b;
        }
    }
}

/// Muon's momentum: held = momentum · held + rest · g, and `update` is momentum · held + rest · g once more.
pub(crate) struct MomentumRow<'a> {
    /// μ, 1 - μ
    pub(crate) shares: [f32; 2],
    pub(crate) scale: f32,
    pub(crate) gradient: &'a [f32],
    pub(crate) held: &'a mut [f32],
    pub(crate) update: &'a mut [f32],
}

impl Kernel for MomentumRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { shares: [kept, rest], scale, gradient, held, update } = self;
        for ((&g, m), u) in gradient.iter().zip(held).zip(update) {
            let g = rest * (g * scale);
            *m = kept * *m + g;
            *u = kept * *m + g;
        }
    }
}
