//! The steps of the optimisers.

use crate::{Backend, Format, Result};

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

/// Muon (Jordan et al. 2024), for matrices: momentum with Nesterov's step, of which the nearest orthogonal matrix is taken,
/// roughly, by steps of Newton and Schulz; as large as an update of AdamW (Liu et al. 2025, Moonlight).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Muon {
    /// The learning rate of this step.
    pub rate: f32,
    /// μ
    pub momentum: f32,
    /// The parameter is multiplied by 1 - rate · decay first.
    pub decay: f32,
    /// Steps of Newton and Schulz.
    pub iterations: u32,
    /// What matrices are multiplied in: [`Format::F32`], or [`Format::Bf16`], of which both factors of a product are rounded.
    pub format: Format,
    /// Multiplies the gradient.
    pub gradient_scale: f32,
}

impl Default for Muon {
    /// PyTorch's numbers, but for the decay, which is 0.
    fn default() -> Self {
        Self {
            rate: 1e-3,
            momentum: 0.95,
            decay: 0.0,
            iterations: 5,
            format: Format::F32,
            gradient_scale: 1.0,
        }
    }
}

impl Muon {
    /// a, b, c: an iteration takes each singular value s to a s + b s³ + c s⁵.
    pub const COEFFICIENTS: [f64; 3] = [3.4445, -4.775, 2.0315];
    /// The least norm that a matrix is divided by.
    pub const EPS: f64 = 1e-7;

    /// What an orthogonal matrix is multiplied by, beside the rate: the root mean square of the update is 0.2.
    pub fn scale(rows: usize, columns: usize) -> f64 {
        0.2 * (rows.max(columns) as f64).sqrt()
    }
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

    /// With g the scaled gradient: m = μ m + (1 - μ) g and u = μ m + (1 - μ) g. Then X = u / max(|u|, [`Muon::EPS`]), with
    /// its longer side along a row, and `iterations` times A = X Xᵀ, X = a X + (b A + c A A) X;
    /// p = p - rate decay p - rate [`scale`](Muon::scale) X.
    fn muon(
        &self,
        settings: &Muon,
        parameter: &mut Self::Tensor,
        gradient: &Self::Tensor,
        momentum: &mut Self::Tensor,
    ) -> Result<()>;
}
