//! The steps of the optimisers.

use crate::{Backend, Result};

/// AdamW (Loshchilov and Hutter 2019) as in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// The learning rate of this step.
    pub rate: f32,
    /// β₁, β₂
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f32,
    /// The parameter is multiplied by 1 - rate · decay first.
    pub decay: f32,
    /// Counts from 1.
    pub step: u32,
    /// Multiplies the gradient: one over the tokens, times what clipping leaves.
    pub gradient_scale: f32,
}

impl Default for AdamW {
    /// PyTorch's numbers, but for the decay, which is 0.
    fn default() -> Self {
        Self {
            rate: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            decay: 0.0,
            step: 1,
            gradient_scale: 1.0,
        }
    }
}

/// Stochastic gradient descent with momentum as in PyTorch: b = momentum b + g, then p -= rate b; the first b is g.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// The learning rate of this step.
    pub rate: f32,
    /// What is kept of the velocity.
    pub momentum: f32,
    /// decay · p is added to the gradient.
    pub decay: f32,
    /// Multiplies the gradient.
    pub gradient_scale: f32,
}

/// Adafactor (Shazeer and Stern 2018) as in transformers, without a first moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adafactor {
    /// The learning rate of this step; that of `relative_rate` where steps are relative.
    pub rate: f32,
    /// Added to the squared gradient; the least scale of a parameter.
    pub eps: [f32; 2],
    /// The largest root mean square of an update.
    pub clip: f32,
    /// β₂ of step t is 1 - t^exponent.
    pub exponent: f32,
    /// The parameter is multiplied by 1 - rate · decay, once the update has been computed.
    pub decay: f32,
    /// Whether `rate` is relative to the root mean square of the parameter.
    pub scale_parameter: bool,
    /// Counts from 1.
    pub step: u32,
    /// Multiplies the gradient.
    pub gradient_scale: f32,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            rate: 1e-3,
            eps: [1e-30, 1e-3],
            clip: 1.0,
            exponent: -0.8,
            decay: 0.0,
            scale_parameter: false,
            step: 1,
            gradient_scale: 1.0,
        }
    }
}

impl Adafactor {
    /// The rate that transformers' `relative_step` has at `step`: 1 / √step, at most 0.01, or 10⁻⁶ step where `warm_up`.
    pub fn relative_rate(step: u32, warm_up: bool) -> f32 {
        let most = if warm_up { 1e-6 * f64::from(step) } else { 1e-2 };
        most.min(f64::from(step).sqrt().recip()) as f32
    }

    /// β₂ of this step.
    pub fn beta(&self) -> f64 {
        1.0 - f64::from(self.step).powf(f64::from(self.exponent))
    }
}

/// Adafactor's second moment of a matrix: means of its rows and of its columns.
#[derive(Debug)]
pub struct Factors<T> {
    /// `[1, rows]`
    pub rows: T,
    /// `[1, columns]`
    pub columns: T,
}

/// Adafactor's second moment.
#[derive(Debug)]
pub enum Second<T> {
    /// Of a matrix.
    Factored(Factors<T>),
    /// Of a vector, `[1, n]`.
    Full(T),
}

/// Steps of optimisers on one parameter, a tensor `[rows, columns]`. State begins as zeros and is changed in place.
///
/// Fails where shapes differ. Numbers that are not finite are for the caller to find beforehand
/// ([`sum_of_squares`](Self::sum_of_squares)).
pub trait OptimiserOps: Backend {
    /// A tensor of zeros.
    fn zeros(&self, rows: usize, columns: usize) -> Result<Self::Tensor>;

    /// Σ x², in an order that does not depend on threads.
    fn sum_of_squares(&self, x: &Self::Tensor) -> Result<f64>;

    /// With g the scaled gradient: p *= 1 - rate · decay; m = β₁ m + (1 - β₁) g; v = β₂ v + (1 - β₂) g²;
    /// p -= rate / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + eps). `moments` are m and v.
    fn adamw(
        &self,
        settings: &AdamW,
        parameter: &mut Self::Tensor,
        gradient: &Self::Tensor,
        moments: &mut [Self::Tensor; 2],
    ) -> Result<()>;

    /// One step of [`Sgd`]. `velocity` is `None` before the first.
    fn sgd(
        &self,
        settings: &Sgd,
        parameter: &mut Self::Tensor,
        gradient: &Self::Tensor,
        velocity: &mut Option<Self::Tensor>,
    ) -> Result<()>;

    /// With g the scaled gradient, s = g² + eps₀ and β of the step:
    /// - a matrix: r = β r + (1 - β) mean of the rows of s, c likewise of its columns; u = g / √(r / mean(r) · c);
    /// - a vector: v = β v + (1 - β) s; u = g / √v.
    ///
    /// Then u /= max(1, rms(u) / clip), and with α = rate, times max(eps₁, rms(p)) where scaled by the parameter:
    /// p = p - α decay p - α u.
    fn adafactor(
        &self,
        settings: &Adafactor,
        parameter: &mut Self::Tensor,
        gradient: &Self::Tensor,
        second: &mut Second<Self::Tensor>,
    ) -> Result<()>;
}
