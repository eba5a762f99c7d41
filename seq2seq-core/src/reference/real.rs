//! The numbers that backwards are defined over: f64 gives the definition's values, and a number that carries its error
//! (`conformance::tolerance::Approx`) gives, by the same loops, how far a backend may be off.

use super::activation;
use crate::{Activation, Precision};

/// A number with the arithmetic that backwards need.
pub(crate) trait Real: Copy {
    /// A number that is not computed.
    fn exact(value: f64) -> Self;
    /// A constant that an f32 evaluation rounds first.
    fn constant(value: f64) -> Self;
    /// Without its error.
    fn value(self) -> f64;
    /// self + other
    fn plus(self, other: Self) -> Self;
    /// self - other
    fn minus(self, other: Self) -> Self;
    /// self · other
    fn times(self, other: Self) -> Self;
    /// self / n
    fn over(self, n: usize) -> Self;
    /// The sum of `terms`, in any order.
    fn sum(terms: &[Self]) -> Self;
    /// 1 / √self
    fn rsqrt(self) -> Self;
    /// Cosine and sine of an angle.
    fn cos_sin(angle: f64) -> [Self; 2];
    /// softmax(scores)
    fn softmax(scores: &[Self]) -> Vec<Self>;
    /// `activation` of self.
    fn activated(self, activation: Activation) -> Self;
    /// The slope of `activation` at self.
    fn slope(self, activation: Activation) -> Self;
    /// Rounded to bf16.
    fn rounded(self) -> Self;
    /// A factor that is multiplied in this precision: `by` times it may be rounded first.
    fn factor(self, precision: Precision, by: f64) -> Self;

    /// Σ a b
    fn dot(pairs: impl Iterator<Item = (Self, Self)>) -> Self {
        let terms: Vec<Self> = pairs.map(|(a, b)| a.times(b)).collect();
        Self::sum(&terms)
    }

    /// Exact numbers of f32 values.
    fn all(values: &[f32]) -> Vec<Self> {
        values.iter().map(|&v| Self::exact(v.into())).collect()
    }
}

impl Real for f64 {
    fn exact(value: f64) -> Self {
        value
    }

    fn constant(value: f64) -> Self {
        value
    }

    fn value(self) -> f64 {
        self
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn minus(self, other: Self) -> Self {
        self - other
    }

    fn times(self, other: Self) -> Self {
        self * other
    }

    fn over(self, n: usize) -> Self {
        self / n as f64
    }

    fn sum(terms: &[Self]) -> Self {
        terms.iter().sum()
    }

    fn rsqrt(self) -> Self {
        1.0 / self.sqrt()
    }

    fn cos_sin(angle: f64) -> [Self; 2] {
        [angle.cos(), angle.sin()]
    }

    fn softmax(scores: &[Self]) -> Vec<Self> {
        super::attention::softmax(scores)
    }

    fn activated(self, activation: Activation) -> Self {
        activation::apply(activation, self)
    }

    fn slope(self, activation: Activation) -> Self {
        activation::slope(activation, self)
    }

    fn rounded(self) -> Self {
        half::bf16::from_f32(self as f32).to_f64()
    }

    fn factor(self, _: Precision, _: f64) -> Self {
        self
    }
}
