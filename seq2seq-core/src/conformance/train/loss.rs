//! Cross-entropy and dropout.

use super::super::tolerance::{Approx, LN, U, gamma};
use super::super::values::{Profile, Random, values};
use super::super::{Outcome, bits, each, fail, host, width, within};
use super::dropout;
use crate::reference::{Reference, backward::loss::gradient, real::Real};
use crate::train::{Dropout, Loss, Smoothing, TrainBackend};
use crate::{Backend, Result};
use proptest::prelude::*;

/// Logits and their targets.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    vocab: usize,
    smoothing: Smoothing,
    /// Logits are normal, times this.
    sharpness: f32,
    seed: u64,
}

fn cases() -> BoxedStrategy<Case> {
    let vocab = prop_oneof![8 => width().prop_map(|w| w.max(2)), 1 => Just(3001usize)];
    let smoothing = proptest::sample::select(
        &[Smoothing::None, Smoothing::Uniform(0.1), Smoothing::Others(0.1)][..],
    );
    let sharpness = proptest::sample::select(&[1.0f32, 5.0, 0.0, 200.0][..]);
    (0..=20usize, vocab, smoothing, sharpness, 0..1000u64)
        .prop_map(|(rows, vocab, smoothing, sharpness, seed)| Case {
            rows,
            vocab,
            smoothing,
            sharpness,
            seed,
        })
        .boxed()
}

impl Case {
    fn logits(&self) -> Vec<f32> {
        let normal = values(Profile::Normal, self.seed, self.rows * self.vocab);
        normal.iter().map(|v| v * self.sharpness).collect()
    }

    /// One row in five has none.
    fn targets(&self) -> Vec<Option<u32>> {
        let mut random = Random::new(self.seed + 1);
        let one = |_| (random.below(5) > 0).then(|| random.below(self.vocab) as u32);
        (0..self.rows).map(one).collect()
    }

    fn run<B: TrainBackend>(&self, backend: &B) -> Result<(Loss, Vec<f32>)> {
        let logits = backend.upload(&host(self.rows, self.vocab, &self.logits()))?;
        let (loss, gradient) = backend.cross_entropy(&logits, &self.targets(), self.smoothing)?;
        Ok((loss, backend.download(&gradient)?))
    }
}

/// The gradient lies within its bound, sums within theirs, counts are exact.
pub fn matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |case| {
        let (loss, got) = case.run(backend)?;
        let (want, _) = case.run(&Reference)?;
        if (loss.tokens, loss.correct) != (want.tokens, want.correct) {
            return fail(format!("{loss:?}, expected {want:?}"));
        }
        // Of each row: what log-softmax allows, twice over a mean of many.
        let largest = case.logits().iter().fold(1.0f64, |a, v| a.max(f64::from(v.abs())));
        let row = 8.0 * U * largest + (LN + gamma(case.vocab)) * (2.0 + (case.vocab as f64).ln());
        let allowed = row * 2.0 * want.tokens as f64 + gamma(case.vocab) * want.sum.abs();
        for (what, got, want) in [("sum", loss.sum, want.sum), ("nll", loss.nll, want.nll)] {
            if (got - want).abs() > allowed || got.is_nan() {
                return fail(format!("{what} {got}, expected {want} within {allowed:e}"));
            }
        }
        let mut bounds = Vec::with_capacity(got.len());
        for (logits, target) in case.logits().chunks(case.vocab).zip(case.targets()) {
            match target {
                Some(target) => {
                    let scores = Approx::all(logits);
                    bounds.extend(gradient(&scores, target as usize, case.smoothing));
                }
                None => bounds.extend(vec![Approx::new(0.0, 0.0); case.vocab]),
            }
        }
        within("the gradient", &bounds, &got)
    })
}

/// The same elements are dropped as the reference drops, to the bit.
pub fn dropout_matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    each((0..=30usize, width(), dropout(), 0..1000u64), |(rows, width, dropout, seed)| {
        let none = Dropout { rate: 0.0, seed: 1, step: 2, place: 3 };
        let x = host(*rows, *width, &values(Profile::Normal, *seed, rows * width));
        let dropout = dropout.unwrap_or(none);
        let want = Reference.apply_dropout(&Reference.upload(&x)?, dropout)?;
        let got = backend.apply_dropout(&backend.upload(&x)?, dropout)?;
        bits("dropout", &Reference.download(&want)?, &backend.download(&got)?)
    })
}

pub(super) fn same_bits(a: &impl TrainBackend, b: &impl TrainBackend) -> Outcome {
    let same = |case: &Case| {
        let ((first, x), (second, y)) = (case.run(a)?, case.run(b)?);
        if first != second {
            return fail(format!("{first:?} and {second:?}"));
        }
        bits("cross_entropy", &x, &y)
    };
    let smoothing = Smoothing::Uniform(0.1);
    same(&Case { rows: 60, vocab: 9000, smoothing, sharpness: 3.0, seed: 1 })?;
    each(cases(), same)
}
