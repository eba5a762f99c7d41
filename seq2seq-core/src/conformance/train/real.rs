//! Backwards over numbers that carry their error.

use crate::conformance::precision::Loss;
use crate::conformance::tolerance::{self, Approx, LN, TRIG, U};
use crate::reference::{activation, real::Real};
use crate::{Activation, Precision};
use half::bf16;

/// Absolute error of the slope of an activation.
const SLOPE: f64 = 32.0 * U;

impl Real for Approx {
    fn exact(value: f64) -> Self {
        Approx::new(value, 0.0)
    }

    fn constant(value: f64) -> Self {
        Approx::new(value, U * value.abs())
    }

    fn value(self) -> f64 {
        self.value
    }

    fn plus(self, other: Self) -> Self {
        Approx::plus(self, other)
    }

    fn minus(self, other: Self) -> Self {
        Approx::minus(self, other)
    }

    fn times(self, other: Self) -> Self {
        Approx::times(self, other)
    }

    fn over(self, n: usize) -> Self {
        Approx::over(self, n)
    }

    fn sum(terms: &[Self]) -> Self {
        Approx::sum(terms)
    }

    fn rsqrt(self) -> Self {
        Approx::rsqrt(self)
    }

    fn cos_sin(angle: f64) -> [Self; 2] {
        [angle.cos(), angle.sin()].map(|v| Approx::new(v, TRIG))
    }

    /// That of a softmax, whose denominator may come back as its logarithm in f32: off by a rounding of it and by the
    /// error of [`LN`], and so relatively is each probability.
    fn softmax(scores: &[Self]) -> Vec<Self> {
        let largest = scores.iter().map(|s| s.value).fold(f64::NEG_INFINITY, f64::max);
        let log = (scores.len() as f64).ln() + 1.0;
        let extra = 4.0 * U * (largest.abs() + log) + LN * (log + 1.0);
        let widen = |p: Approx| Approx::new(p.value, p.error + extra * (p.value + p.error));
        tolerance::softmax(scores).into_iter().map(widen).collect()
    }

    fn activated(self, activation: Activation) -> Self {
        Approx::activated(self, activation)
    }

    /// By the largest second derivative of each; ReLU's slope may be either where the sign is not certain.
    fn slope(self, activation: Activation) -> Self {
        let value = activation::slope(activation, self.value);
        let bend = match activation {
            Activation::Relu => {
                let uncertain = self.error > 0.0 && self.value.abs() <= self.error;
                return Approx::new(value, if uncertain { 1.0 } else { 0.0 });
            }
            // 2 φ(0) for GELU, 1.702/2 for quick GELU, 1/2 for SiLU, 4/(3√3) for tanh.
            _ => 0.86,
        };
        Approx::new(value, bend * self.error + SLOPE)
    }

    /// Either neighbour, where the error reaches over the middle between them.
    fn rounded(self) -> Self {
        let round = |v: f64| bf16::from_f32(v as f32).to_f64();
        let value = round(self.value);
        let (below, above) = (round(self.value - self.error), round(self.value + self.error));
        Approx::new(value, (above - value).max(value - below))
    }

    fn factor(self, precision: Precision, by: f64) -> Self {
        Loss(precision).factor(self, by)
    }
}
