//! The steps of the optimisers.

use crate::{Backend, Format, Result};

/// AdamW (Loshchilov and Hutter 2019) as in PyTorch.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, reference::Reference, train::{AdamW, OptimiserOps}};
///
/// let b = Reference;
/// let mut parameter = b.upload(&HostTensor::from_f32(vec![1, 3], &[1.0, 1.0, 1.0])?)?;
/// let gradient = b.upload(&HostTensor::from_f32(vec![1, 3], &[1e-3, -5.0, 0.0])?)?;
/// let settings = AdamW { rate: 0.25, decay: 0.5, ..AdamW::default() };
/// b.adamw(&settings, &mut parameter, &gradient, &mut [b.zeros(1, 3)?, b.zeros(1, 3)?])?;
/// // An eighth of each is gone first. Then the first step is as long for a small gradient as for a large one.
/// let expected = [0.875 - 0.25, 0.875 + 0.25, 0.875];
/// assert!(b.download(&parameter)?.iter().zip(expected).all(|(p, e)| (p - e).abs() < 1e-4));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, reference::Reference, train::{OptimiserOps, Sgd}};
///
/// let b = Reference;
/// let mut parameter = b.zeros(1, 1)?;
/// let gradient = b.upload(&HostTensor::from_f32(vec![1, 1], &[1.0])?)?;
/// let settings = Sgd { rate: 1.0, momentum: 0.5, decay: 0.0, gradient_scale: 1.0 };
/// let mut velocity = None;
/// let mut path = Vec::new();
/// for _ in 0..3 {
///     b.sgd(&settings, &mut parameter, &gradient, &mut velocity)?;
///     path.extend(b.download(&parameter)?);
/// }
/// assert_eq!(path, [-1.0, -2.5, -4.25]); // steps of 1, 1.5 and 1.75, towards 2
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, reference::Reference, train::{Adafactor, OptimiserOps, Second}};
///
/// // The settings that transformers calls `scale_parameter`, `relative_step` and `warmup_init`.
/// let settings = |step| Adafactor {
///     rate: Adafactor::relative_rate(step, true),
///     scale_parameter: true,
///     step,
///     ..Adafactor::default()
/// };
/// assert_eq!((settings(1).rate, settings(1_000_000).rate), (1e-6, 1e-3));
/// assert_eq!(settings(1).beta(), 0.0); // the first step knows of no other
///
/// let b = Reference;
/// let mut parameter = b.upload(&HostTensor::from_f32(vec![1, 2], &[3.0, 4.0])?)?;
/// let gradient = b.upload(&HostTensor::from_f32(vec![1, 2], &[-1e-4, 1e-4])?)?;
/// let mut second = Second::Full(b.zeros(1, 2)?);
/// b.adafactor(&Adafactor { rate: 0.1, ..settings(1) }, &mut parameter, &gradient, &mut second)?;
/// // A tenth of the parameter's root mean square, whatever the gradient's is.
/// let rms = 12.5f32.sqrt();
/// let moved = b.download(&parameter)?;
/// assert!((moved[0] - (3.0 + 0.1 * rms)).abs() < 1e-4 && (moved[1] - (4.0 - 0.1 * rms)).abs() < 1e-4);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, reference::Reference, train::{Adafactor, Factors, OptimiserOps, Second}};
///
/// let b = Reference;
/// // What is kept of 1000 x 500 weights are 1500 numbers.
/// let mut parameter = b.zeros(1000, 500)?;
/// let mut second = Second::Factored(Factors { rows: b.zeros(1, 1000)?, columns: b.zeros(1, 500)? });
/// let gradient = b.upload(&HostTensor::from_f32(vec![1000, 500], &vec![2.0; 500_000])?)?;
/// b.adafactor(&Adafactor::default(), &mut parameter, &gradient, &mut second)?;
/// if let Second::Factored(Factors { rows, .. }) = &second {
///     assert_eq!(b.download(rows)?, [4.0; 1000]); // the mean square of each row
/// }
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Factors<T> {
    /// `[1, rows]`
    pub rows: T,
    /// `[1, columns]`
    pub columns: T,
}

/// Adafactor's second moment.
///
/// ```
/// use seq2seq_core::{Backend, Result, reference::Reference, train::{Factors, OptimiserOps, Second}};
///
/// /// What Adafactor keeps of a parameter before its first step.
/// fn second<B: OptimiserOps>(b: &B, rows: usize, columns: usize) -> Result<Second<B::Tensor>> {
///     Ok(match rows {
///         1 => Second::Full(b.zeros(1, columns)?),
///         _ => Second::Factored(Factors { rows: b.zeros(1, rows)?, columns: b.zeros(1, columns)? }),
///     })
/// }
///
/// assert!(matches!(second(&Reference, 1, 64)?, Second::Full(_)));
/// assert!(matches!(second(&Reference, 64, 64)?, Second::Factored(_)));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub enum Second<T> {
    /// Of a matrix.
    Factored(Factors<T>),
    /// Of a vector, `[1, n]`.
    Full(T),
}

/// Muon (Jordan et al. 2024), for matrices: momentum with Nesterov's step, of which the nearest orthogonal matrix is taken,
/// roughly, by steps of Newton and Schulz; as large as an update of AdamW (Liu et al. 2025, Moonlight).
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, reference::Reference, train::{Muon, OptimiserOps}};
///
/// let b = Reference;
/// let mut parameter = b.zeros(2, 2)?;
/// // A gradient that is large in one direction, and small in another.
/// let gradient = b.upload(&HostTensor::from_f32(vec![2, 2], &[4.0, 0.0, 0.0, 0.5])?)?;
/// b.muon(&Muon { rate: 0.1, ..Muon::default() }, &mut parameter, &gradient, &mut b.zeros(2, 2)?)?;
/// // The step goes about as far in both.
/// let length = 0.1 * Muon::scale(2, 2) as f32;
/// let moved = b.download(&parameter)?;
/// assert!([moved[0], moved[3]].iter().all(|m| (0.65..1.25).contains(&(-m / length))), "{moved:?}");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
/// ([`sums_of_squares`](Self::sums_of_squares)).
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Result, reference::Reference, train::{OptimiserOps, Sgd}};
///
/// /// A step along all gradients, which together are at most `most` long.
/// fn clipped<B: OptimiserOps>(b: &B, parameters: &mut [B::Tensor], gradients: &[B::Tensor], most: f64) -> Result<()> {
///     let squares: f64 = b.sums_of_squares(&gradients.iter().collect::<Vec<_>>())?.iter().sum();
///     let gradient_scale = (most / squares.sqrt()).min(1.0) as f32;
///     let settings = Sgd { rate: 1.0, momentum: 0.0, decay: 0.0, gradient_scale };
///     let mut pairs = parameters.iter_mut().zip(gradients);
///     pairs.try_for_each(|(parameter, gradient)| b.sgd(&settings, parameter, gradient, &mut None))
/// }
///
/// let b = Reference;
/// let mut parameters = [b.zeros(1, 1)?, b.zeros(1, 1)?];
/// let gradient = |value| b.upload(&HostTensor::from_f32(vec![1, 1], &[value])?);
/// clipped(&b, &mut parameters, &[gradient(3.0)?, gradient(4.0)?], 2.5)?;
/// assert_eq!((b.download(&parameters[0])?, b.download(&parameters[1])?), (vec![-1.5], vec![-2.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub trait OptimiserOps: Backend {
    /// A tensor of zeros.
    fn zeros(&self, rows: usize, columns: usize) -> Result<Self::Tensor>;

    /// Σ x² of each tensor, in an order that depends neither on threads nor on the other tensors. A device is waited for once, however
    /// many there are.
    fn sums_of_squares(&self, tensors: &[&Self::Tensor]) -> Result<Vec<f64>>;

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
