//! What an attention in [`Precision::Bf16`] may lose beyond one in f32.
//!
//! Every operand may be rounded to bf16 or not. So a bound widens by what rounding takes from the operands at hand: nothing
//! where they are bf16 numbers, as in half of the cases, and up to [`BF16`] of them otherwise.
//!
//! **On the way back** the reference's loops run over numbers that carry their error (`train/real.rs`), and each factor of a
//! matrix product that may be rounded passes [`Loss::factor`], once. So to first order, with u = 2⁻⁸ and γ that of f32:
//!
//! | of | is off by |
//! |---|---|
//! | a score over D columns | (2 u + γ(D + 2)) Σ abs q abs k, its factors scaled |
//! | p | relatively, that of its score and, weighted by p, those of all scores of its row |
//! | dp | (2 u + γ(D)) Σ abs dy abs v |
//! | along = Σ p dp | (3 u + γ(S D)) Σ p abs dy abs v, and what p is off by |
//! | ds = p (dp - along) | p times what dp and along are off by, and what p is off by |
//! | dq, dk over n keys or rows | (2 u + γ(n)) Σ abs ds abs k, or abs q, and what ds is off by |
//! | dv over n rows | (2 u + γ(n)) Σ p abs dy, and what p is off by |
//! | the table over n scores | (u + γ(n)) Σ abs ds, and what ds is off by |

use super::tolerance::{self, Approx};
use crate::{AttentionSpec, Precision};
use half::bf16;
use proptest::prelude::*;

/// The rounding error of bf16, relative.
const BF16: f64 = 1.0 / 256.0;

/// A precision, asked what it may lose.
#[derive(Clone, Copy)]
pub(super) struct Loss(pub(super) Precision);

impl Loss {
    /// Of an operand. The dot product instructions of bf16 take a subnormal one as zero.
    fn of(self, x: f32) -> f64 {
        let rounded = bf16::from_f32(x).to_f32();
        match self.0 {
            Precision::F32 => 0.0,
            Precision::Bf16 if rounded.abs() < f32::MIN_POSITIVE => f64::from(x.abs()),
            Precision::Bf16 => f64::from((x - rounded).abs()),
        }
    }

    /// A factor of a matrix product, `by` times which may be rounded: by [`BF16`] at most of all that it may be; where it is
    /// known, by what that rounds.
    pub(super) fn factor(self, x: Approx, by: f64) -> Approx {
        if self.0 == Precision::F32 || by == 0.0 {
            return x;
        }
        let lost = match x.error {
            0.0 => self.of(x.value as f32 * by as f32) / by.abs(),
            _ => BF16 * (x.value.abs() + x.error) + f64::from(f32::MIN_POSITIVE) / by.abs(),
        };
        Approx::new(x.value, x.error + lost)
    }

    /// Magnitudes `sizes` of keys `x`, and what they may lose. Rotated ones may lose what any number may.
    pub(super) fn widen_keys(self, sizes: &[f32], x: &[f32], rotated: bool) -> Vec<f32> {
        let widen = |(&size, &x): (&f32, &f32)| match (self.0, rotated) {
            (Precision::Bf16, true) => size * (1.0 + BF16 as f32) + f32::MIN_POSITIVE,
            _ => size + self.of(x) as f32,
        };
        sizes.iter().zip(x).map(widen).collect()
    }

    /// The same of queries, which are rounded when they have been scaled.
    pub(super) fn widen_queries(self, sizes: &[f32], x: &[f32], spec: &AttentionSpec) -> Vec<f32> {
        let scale = spec.scale;
        let scaled = |x: &[f32]| x.iter().map(|v| v * scale).collect::<Vec<f32>>();
        let wide = self.widen_keys(&scaled(sizes), &scaled(x), spec.rotary.is_some());
        wide.into_iter().map(|size| size / scale).collect()
    }

    /// Of `operations` in a row, to underflow beyond that of f32.
    fn underflow(self, operations: usize) -> f64 {
        match self.0 {
            Precision::F32 => 0.0,
            Precision::Bf16 => f64::from(f32::MIN_POSITIVE) * operations as f64,
        }
    }

    /// A score over `terms` columns, whose magnitude may be off by `lost` for what its operands lose.
    pub(super) fn score(self, score: Approx, lost: f64, terms: usize) -> Approx {
        Approx::new(score.value, score.error + lost + self.underflow(2 * terms))
    }

    /// Probabilities as they are multiplied: their dividends may have been rounded.
    pub(super) fn softmax(self, scores: &[Approx]) -> Vec<Approx> {
        let relative = match self.0 {
            Precision::F32 => 0.0,
            Precision::Bf16 => BF16,
        };
        let round = |p: Approx| Approx::new(p.value, p.error + relative * (p.value + p.error));
        tolerance::softmax(scores).into_iter().map(round).collect()
    }

    /// Σ weight · value, of values that may have been rounded.
    pub(super) fn weighted_sum(
        self,
        weights: &[Approx],
        values: impl Iterator<Item = f32>,
    ) -> Approx {
        let values = values.map(|v| Approx::new(v.into(), self.of(v)));
        let sum = tolerance::weighted_sum(weights, values);
        Approx::new(sum.value, sum.error + self.underflow(2 * weights.len()))
    }
}

/// Either precision.
pub(super) fn precision() -> impl Strategy<Value = Precision> {
    proptest::sample::select(&[Precision::F32, Precision::Bf16][..])
}

/// Values of a case in this precision: in half of the cases, by the seed, bf16 numbers.
pub(super) fn represent(precision: Precision, seed: u64, x: &mut [f32]) {
    if precision == Precision::Bf16 && seed.is_multiple_of(2) {
        x.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32());
    }
}
