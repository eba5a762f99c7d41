//! Steps of Muon.

use super::super::tolerance::{Approx, U, gamma};
use super::super::values::{Profile, values};
use super::super::{Outcome, bits, each, host, within};
use super::{gradient_values, narrow};
use crate::reference::backward::muon::update;
use crate::train::{Muon, TrainBackend};
use crate::{Format, Result};
use proptest::prelude::*;

/// A matrix and its gradient.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    columns: usize,
    settings: Muon,
    /// Whether there were steps before.
    begun: bool,
    seed: u64,
}

/// Few iterations: each multiplies an error in a small singular value by 3.4, and what all may be off adds up fast.
fn cases() -> BoxedStrategy<Case> {
    let decay = proptest::sample::select(&[0.0f32, 0.1][..]);
    let scale = proptest::sample::select(&[1.0f32, 0.003][..]);
    let format = proptest::sample::select(&[Format::F32, Format::Bf16][..]);
    let flags = any::<[bool; 2]>();
    (1..=20usize, narrow(), decay, scale, 1..=2u32, format, flags, 0..1000u64)
        .prop_map(|(rows, columns, decay, gradient_scale, iterations, format, flags, seed)| {
            let [tall, begun] = flags;
            let (rows, columns) = if tall { (columns, rows) } else { (rows, columns) };
            let rate = 0.1;
            let settings =
                Muon { rate, decay, iterations, format, gradient_scale, ..Muon::default() };
            Case { rows, columns, settings, begun, seed }
        })
        .boxed()
}

impl Case {
    fn parameter(&self) -> Vec<f32> {
        values(Profile::Normal, self.seed, self.rows * self.columns)
    }

    fn gradient(&self) -> Vec<f32> {
        gradient_values(self.seed + 1, self.rows * self.columns)
    }

    fn momentum(&self) -> Vec<f32> {
        let mut momentum = values(Profile::Normal, self.seed + 2, self.rows * self.columns);
        if !self.begun {
            momentum.fill(0.0);
        }
        momentum
    }

    /// Parameter and momentum after a step.
    fn run<B: TrainBackend>(&self, backend: &B) -> Result<[Vec<f32>; 2]> {
        let upload = |values: &[f32]| backend.upload(&host(self.rows, self.columns, values));
        let (mut parameter, mut momentum) = (upload(&self.parameter())?, upload(&self.momentum())?);
        backend.muon(&self.settings, &mut parameter, &upload(&self.gradient())?, &mut momentum)?;
        Ok([backend.download(&parameter)?, backend.download(&momentum)?])
    }
}

/// [`OptimiserOps::muon`](crate::train::OptimiserOps::muon)
pub fn matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |case| {
        let [parameter, momentum] = case.run(backend)?;
        let Case { rows, columns, settings, .. } = *case;
        let (kept, scale) = (f64::from(settings.momentum), f64::from(settings.gradient_scale));
        // Each a few f32 operations.
        let mix = |(m, g): (f64, f64)| {
            let value = kept * m + (1.0 - kept) * g;
            Approx::new(value, gamma(8) * (kept * m.abs() + (1.0 - kept) * g.abs()) + 1e-44)
        };
        let gradient: Vec<f64> = case.gradient().iter().map(|&g| f64::from(g) * scale).collect();
        let before = case.momentum();
        let held: Vec<Approx> =
            before.iter().zip(&gradient).map(|(&m, &g)| mix((m.into(), g))).collect();
        within("momentum", &held, &momentum)?;
        let nesterov = |(m, &g): (&Approx, &f64)| {
            let u = mix((m.value, g));
            Approx::new(u.value, u.error + kept * m.error)
        };
        let u: Vec<Approx> = held.iter().zip(&gradient).map(nesterov).collect();
        let bf16 = settings.format == Format::Bf16;
        let update = update(&u, [rows, columns], settings.iterations, bf16);
        let factor = f64::from(settings.rate) * Muon::scale(rows, columns);
        let left = 1.0 - f64::from(settings.rate) * f64::from(settings.decay);
        let bound = |(u, p): (&Approx, f32)| {
            let p = f64::from(p);
            let magnitude = p.abs() + factor * u.value.abs();
            let error = factor * u.error + gamma(6) * magnitude;
            Approx::new(left * p - factor * u.value, error + U * magnitude)
        };
        let bounds: Vec<Approx> = update.iter().zip(case.parameter()).map(bound).collect();
        within("parameter", &bounds, &parameter)
    })
}

pub(super) fn same_bits(a: &impl TrainBackend, b: &impl TrainBackend) -> Outcome {
    let same = |case: &Case| bits("steps", &case.run(a)?.concat(), &case.run(b)?.concat());
    for format in [Format::F32, Format::Bf16] {
        let settings = Muon { format, ..Muon::default() };
        same(&Case { rows: 200, columns: 115, settings, begun: true, seed: 1 })?;
    }
    each(cases(), same)
}
