//! How far from the reference a correct backend may be, per element.
//!
//! u = 2⁻²⁴ is the rounding error of one f32 operation, γ(n) = n u / (1 - n u) that of n in a row (Higham 2002,
//! section 3.1). A sum of n terms in **any** order is off by at most γ(n - 1) Σ|term|, so a backend may sum as it
//! likes; it may not sum in less than f32.
//!
//! Bounds follow the formula of an operation in running error analysis: an [`Approx`] is the exact value and the most
//! that an f32 evaluation may differ from it, and each arithmetic method adds what its operands' errors become plus one
//! rounding. What an implementation approximates is stated here once:
//!
//! | function | allowed error |
//! |---|---|
//! | e^x | [`EXP`] relative, 0 below 2⁻¹²⁵ |
//! | ln x | [`LN`] relative, plus as much absolute |
//! | 1/√x | [`RSQRT`] relative |
//! | cos, sin of the f32 angle | [`TRIG`] absolute |
//! | GELU (both), SiLU, quick GELU | [`GATE`] (abs f(x) + min(abs x, 6) / 4) |
//! | tanh | [`TANH`] relative |
//! | σ(x) = 1 / (1 + e⁻ˣ) | [`SIGMOID`] relative, 0 below 2⁻¹²⁵ |
//!
//! **Underflow.** f32, int8 and int4 operations lose at most 2⁻¹⁴⁹ each. The bf16 dot product instructions of x86 and Arm take
//! subnormal operands as zero and flush subnormal results: in bf16 each may lose 2⁻¹²⁶.
//!
//! **Not judged.** Where a bound is infinite (a value that f32 cannot hold on the way) nothing is compared.
//!
//! ```
//! use seq2seq_core::{Format, conformance::tolerance::{Approx, Product, U, gamma, linear}};
//!
//! // The mean of three numbers, as a backend may compute it.
//! let x = [1e8f32, 1.0, -1e8].map(Approx::exact);
//! let mean = Approx::sum(&x).over(3);
//! assert!((mean.value - 1.0 / 3.0).abs() < 1e-12);
//! // In f32 the 1 is gone beside 1e8, or it is not: both orders are as good.
//! assert!(mean.accepts((1e8f32 + 1.0 - 1e8) / 3.0) && mean.accepts((1e8f32 - 1e8 + 1.0) / 3.0));
//! assert!(!mean.accepts(20.0));
//!
//! // A product of 768 columns: about 768 roundings of what went into it, and fewer in int8, whose sum is exact.
//! let product = Product { value: 2.0, magnitude: 40.0, bias: 0.0, terms: 768, largest: 4.0 };
//! let allowed = |format| linear(format, product).error;
//! assert!(allowed(Format::F32) < 1.01 * gamma(770) * 40.0 && gamma(770) < 771.0 * U);
//! assert!(allowed(Format::Int8) < allowed(Format::F32) / 100.0);
//! ```

use crate::{Activation, Format, quant::group, reference};

/// The rounding error of one f32 operation.
pub const U: f64 = 1.0 / (1u64 << 24) as f64;
/// Relative error of e^x: about 4 units in the last place.
pub const EXP: f64 = 8.0 * U;
/// Error of the natural logarithm, relative and absolute.
pub const LN: f64 = 8.0 * U;
/// Relative error of a reciprocal square root.
pub const RSQRT: f64 = 6.0 * U;
/// Absolute error of cosine and sine of an f32 angle.
pub const TRIG: f64 = 2.0 * U;
/// Error of the activations that gate x by a factor of 0 to 1.
pub const GATE: f64 = 16.0 * U;
/// Relative error of the hyperbolic tangent.
pub const TANH: f64 = 12.0 * U;
/// Relative error of the logistic function.
pub const SIGMOID: f64 = 12.0 * U;
/// The smallest subnormal f32.
pub const SUBNORMAL: f64 = f32::from_bits(1) as f64;
/// What a flushed weight of a softmax may have been.
const FLUSHED: f64 = 2.0 * f32::MIN_POSITIVE as f64;

/// The accumulated relative error of n roundings.
///
/// ```
/// use seq2seq_core::conformance::tolerance::{U, gamma};
///
/// assert_eq!(gamma(0), 0.0);
/// assert!(gamma(1000) > 1000.0 * U && gamma(1000) < 1000.1 * U);
/// ```
pub fn gamma(n: usize) -> f64 {
    let nu = n as f64 * U;
    if nu < 1.0 { nu / (1.0 - nu) } else { f64::INFINITY }
}

/// An exact value and how far an f32 evaluation of it may be off.
///
/// ```
/// use seq2seq_core::conformance::tolerance::Approx;
///
/// // 1 / √(x² + 0.01), one rounding after the other.
/// let x = Approx::exact(0.1f32);
/// let y = x.times(x).plus(Approx::exact(0.01f32)).rsqrt();
/// let got = (0.1f32 * 0.1 + 0.01).sqrt().recip();
/// assert!(y.accepts(got) && !y.accepts(got * 1.00001));
/// // What is not a number has to come out as such.
/// assert!(!y.accepts(f32::NAN) && Approx::exact(f32::NAN).accepts(f32::NAN));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Approx {
    /// What it is, in exact arithmetic (f64).
    pub value: f64,
    /// How far off a correct result may be.
    pub error: f64,
}

impl Approx {
    /// A value that is not computed.
    pub fn exact(value: impl Into<f64>) -> Self {
        Self { value: value.into(), error: 0.0 }
    }

    /// A value with an error.
    pub fn new(value: f64, error: f64) -> Self {
        Self { value, error }
    }

    /// The result of one f32 operation on operands that are off by `error` in all.
    fn rounded(value: f64, error: f64) -> Self {
        if value.is_infinite() {
            return Self::exact(value);
        }
        Self { value, error: error + U * (value.abs() + error) + SUBNORMAL }
    }

    /// Whether an f32 result is within the bound. NaN must be NaN, and infinity infinity.
    pub fn accepts(self, got: f32) -> bool {
        let got = f64::from(got);
        if self.value.is_nan() {
            return got.is_nan();
        }
        if self.value.is_infinite() {
            return got == self.value;
        }
        // What does not fit f32 may be infinite.
        self.error == f64::INFINITY
            || self.value.abs() + self.error > f64::from(f32::MAX)
            || (got - self.value).abs() <= self.error
    }

    /// self + other
    pub fn plus(self, other: Self) -> Self {
        Self::rounded(self.value + other.value, self.error + other.error)
    }

    /// self - other
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { value: -other.value, ..other })
    }

    /// self · other
    pub fn times(self, other: Self) -> Self {
        let error = weigh(self.error, other.value.abs() + other.error)
            + weigh(self.value.abs(), other.error);
        Self::rounded(self.value * other.value, error)
    }

    /// The sum of `terms` in any order.
    pub fn sum(terms: &[Self]) -> Self {
        let value = terms.iter().map(|t| t.value).sum();
        let operands: f64 = terms.iter().map(|t| t.error).sum();
        let magnitude: f64 = terms.iter().map(|t| t.value.abs() + t.error).sum();
        Self { value, error: operands + gamma(terms.len().saturating_sub(1)) * magnitude }
    }

    /// self / n, also as a product with an f32 reciprocal.
    pub fn over(self, n: usize) -> Self {
        let (value, n) = (self.value / n as f64, n as f64);
        Self { value, error: self.error / n + 2.0 * U * (value.abs() + self.error / n) + SUBNORMAL }
    }

    /// 1 / √self
    pub fn rsqrt(self) -> Self {
        let value = 1.0 / self.value.sqrt();
        // |1/√(x + d) - 1/√x| is largest at d = -error.
        let error = match self.error < self.value {
            true => 1.0 / (self.value - self.error).sqrt() - value,
            false => f64::INFINITY,
        };
        Self { value, error: error + RSQRT * (value + error) }
    }

    /// 1 / (1 + e⁻ˣ) of self.
    pub fn sigmoid(self) -> Self {
        let value = reference::recurrent::sigmoid(self.value);
        // The slope is at most 1/4; below 0 the relative error is at most that of eˣ.
        let moved = (0.25 * self.error).min(value * self.error.exp_m1());
        Self { value, error: moved + SIGMOID * (value + moved) + FLUSHED }
    }

    /// tanh of self.
    pub fn tanh(self) -> Self {
        self.activated(Activation::Tanh)
    }

    /// An activation of self.
    pub fn activated(self, activation: Activation) -> Self {
        let x = self.value;
        let value = reference::activation::apply(activation, x);
        // The largest slope of each, and what its approximation may be off.
        let (slope, error) = match activation {
            Activation::Relu => (1.0, 0.0),
            Activation::Tanh => (1.0, TANH * value.abs()),
            _ => (1.13, GATE * (value.abs() + x.abs().min(6.0) / 4.0)),
        };
        Self { value, error: slope * self.error + error + SUBNORMAL }
    }
}

/// The operands of one product of a linear layer, for its bound.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// scale · x Wᵀ + b of the reference, rounded to f32.
    pub value: f32,
    /// |scale| · |x| |W|ᵀ + |b| of the reference. In int4 |x| is 510 row scales and |W| that of the levels: q less any
    /// byte as the zero that is stored, and that zero itself, are at most 255 each.
    pub magnitude: f32,
    /// b
    pub bias: f32,
    /// The length of the reduction, K.
    pub terms: usize,
    /// The largest of |x|, |w| and 1, times that of |scale| and 1.
    pub largest: f32,
}

/// The bound of scale · x Wᵀ + b.
///
/// f32, f16, bf16: K products and sums, the scale (perhaps folded into the weights) and the bias: γ(K + 2) · magnitude,
/// and K times what an operation may lose to underflow. bf16 products are exact; they are counted all the same.
///
/// int8: the integer sum is exact. Its conversion, the product of the scales, the product with it and the bias
/// round: γ(4) (|product| + |bias|), whatever K is. The product of two small scales may be subnormal, off by 2⁻¹⁵⁰,
/// times a sum below 2³¹.
///
/// int4: the sum of a group is an integer below 2²⁴, exact in f32; so is a level times a scale. The products with the
/// scales of the groups and their sums round, and so do the product of the zero point and its factor, the two scales
/// and the bias: γ(2 groups + 5) · magnitude. The zero point may leave in f32, once for all groups, and need not
/// leave each group exactly; so the magnitude counts rows as they are stored.
///
/// ```
/// use seq2seq_core::{Format, conformance::tolerance::{Product, linear}};
///
/// // 3 · 0.5 + 1
/// let product = Product { value: 2.5, magnitude: 2.5, bias: 1.0, terms: 1, largest: 3.0 };
/// let bound = linear(Format::F32, product);
/// assert!(bound.accepts(2.5) && bound.accepts(2.5f32.next_up()) && !bound.accepts(2.50001));
/// ```
pub fn linear(format: Format, p: Product) -> Approx {
    let (value, bias) = (f64::from(p.value), f64::from(p.bias));
    let underflow = |smallest: f64| 3.0 * smallest * p.terms as f64 * f64::from(p.largest);
    let error = match format {
        Format::F32 | Format::F16 => {
            gamma(p.terms + 2) * f64::from(p.magnitude) + underflow(SUBNORMAL)
        }
        Format::Bf16 => {
            gamma(p.terms + 2) * f64::from(p.magnitude) + underflow(f32::MIN_POSITIVE.into())
        }
        Format::Int8 => gamma(4) * (value.abs() + 2.0 * bias.abs()) + SUBNORMAL * 2f64.powi(31),
        Format::Int4 => {
            let roundings = 2 * group::groups(p.terms) + 5;
            gamma(roundings) * f64::from(p.magnitude) + underflow(SUBNORMAL)
        }
    };
    // The reference's own roundings, of value and magnitude.
    Approx { value, error: error * (1.0 + 2.0 * U) + U * value.abs() + SUBNORMAL }
}

/// The bound of a score of attention, scale · q k + bias.
///
/// `magnitude` is |scale| · Σ |q||k| over D terms. Where queries and keys are rotated, their magnitudes are those of
/// the pairs, |a| + |b|, and cosine, sine, two products and a sum make each off by 3 [`TRIG`] of that.
///
/// ```
/// use seq2seq_core::conformance::tolerance::score;
///
/// // Of 64 columns; where they were rotated, a score may be off by more.
/// let [plain, rotated] = [false, true].map(|rotated| score(0.5, 6.0, 0.0, 64, rotated));
/// assert!(plain.accepts(0.500_01) && plain.error < rotated.error);
/// ```
pub fn score(value: f64, magnitude: f64, bias: f64, terms: usize, rotated: bool) -> Approx {
    let rotation = if rotated { 6.0 * TRIG } else { 0.0 };
    let error = (gamma(terms + 2) + rotation) * magnitude + 2.0 * U * (value.abs() + bias.abs());
    Approx { value, error: error + SUBNORMAL * terms as f64 }
}

/// A share of an error; a vanished share of an infinite error is none.
fn weigh(share: f64, error: f64) -> f64 {
    if share == 0.0 { 0.0 } else { share * error }
}

/// The bounds of softmax(scores).
///
/// With p = e^(s - m) / Σ e^(s - m), m the largest (its error cancels): each exponent is off by its score's error and
/// the rounding of s - m; a running softmax may rescale a sum once every 8 keys, each time by another exponential.
///
/// ```
/// use seq2seq_core::conformance::tolerance::{Approx, softmax};
///
/// let p = softmax(&[0.0f32, 3f32.ln()].map(Approx::exact));
/// assert!(p[0].accepts(0.25) && p[1].accepts(0.75) && !p[0].accepts(0.2501));
/// // What scores may be off by, probabilities may.
/// let loose = softmax(&[Approx::new(0.0, 1e-3), Approx::new(3f64.ln(), 1e-3)]);
/// assert!(loose[0].accepts(0.2501) && !loose[0].accepts(0.251));
/// ```
pub fn softmax(scores: &[Approx]) -> Vec<Approx> {
    let n = scores.len();
    let values: Vec<f64> = scores.iter().map(|s| s.value).collect();
    let p = reference::attention::softmax(&values);
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let rescaling = EXP * (2 + n / 8) as f64;
    let relative: Vec<f64> = scores
        .iter()
        .map(|s| (s.error + 2.0 * U * (s.value - largest).abs()).exp_m1() + rescaling)
        .collect();
    let total: f64 =
        p.iter().zip(&relative).map(|(&p, &r)| weigh(p, r)).sum::<f64>() + gamma(n + 1);
    let bound = |(&p, &r): (&f64, &f64)| {
        let error = if total < 0.5 { weigh(p, r + total) / (1.0 - total) } else { 1.0 };
        Approx { value: p, error: error + FLUSHED }
    };
    p.iter().zip(&relative).map(bound).collect()
}

/// The bound of Σ weight · value over the keys of one query; each product and sum may lose 2⁻¹⁴⁹ to underflow.
///
/// ```
/// use seq2seq_core::conformance::tolerance::{Approx, weighted_sum};
///
/// let weights = [0.25f32, 0.75].map(Approx::exact);
/// let y = weighted_sum(&weights, [8.0f32, 4.0].into_iter().map(Approx::exact));
/// assert!(y.value == 5.0 && y.accepts(5f32.next_up()) && !y.accepts(5.001));
/// ```
pub fn weighted_sum(weights: &[Approx], values: impl Iterator<Item = Approx>) -> Approx {
    let rounding = gamma(weights.len() + 1);
    let (mut value, mut error) = (0.0, 0.0);
    for (w, v) in weights.iter().zip(values) {
        value += w.value * v.value;
        error += (w.error + rounding * w.value) * (v.value.abs() + v.error);
        error += weigh(w.value, v.error);
    }
    Approx::rounded(value, error + SUBNORMAL * weights.len() as f64)
}

/// The bounds of log-softmax: (s - m) - ln Σ e^(s - m), for scores that are each off by `error`.
///
/// Subtracting the largest, m, before anything else is part of the definition: with s - ln Σ e^s, 1e30 beside 1e30
/// would come out as 0 and not as ln 1/2.
///
/// ```
/// use seq2seq_core::conformance::tolerance::log_softmax;
///
/// let scores = [1.0f32, 2.0, 4.0];
/// let (sum, bounds) = (scores.iter().map(|s| (s - 4.0).exp()).sum::<f32>(), log_softmax(&scores, 0.0));
/// assert!(scores.iter().zip(&bounds).all(|(s, bound)| bound.accepts(s - 4.0 - sum.ln())));
/// assert_eq!(log_softmax(&[0.0, f32::NEG_INFINITY], 0.0)[1].value, f64::NEG_INFINITY);
/// ```
pub fn log_softmax(scores: &[f32], error: f64) -> Vec<Approx> {
    let l = reference::top_k::log_softmax(scores);
    let largest = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exponent = |s: f32| f64::from(s) - largest;
    // Relative error of the sum: that of its terms, by their share, and of adding them.
    let share = |(l, &s): (&f64, &f32)| {
        let term = (error + U * exponent(s).abs()).exp_m1() + EXP;
        weigh(l.exp(), term)
    };
    let sum: f64 = l.iter().zip(scores).map(share).sum::<f64>() + gamma(scores.len());
    let bound = |(&l, &s): (&f64, &f32)| {
        let x = exponent(s);
        let log = LN * ((l - x).abs() + 1.0) + 2.0 * sum;
        let error = error + log + 2.0 * U * (x.abs() + l.abs());
        Approx { value: l, error: if l.is_finite() { error } else { 0.0 } }
    };
    l.iter().zip(scores).map(bound).collect()
}

#[cfg(test)]
mod tests {
    //! Plain f32 evaluations stay within the bounds; the bounds are not much wider than need be.

    use super::super::values::{Profile, Random, values};
    use super::*;

    /// A sum of products in f32, in one of many orders: strided partial sums, then the partial sums.
    fn dot(x: &[f32], w: &[f32], lanes: usize) -> f32 {
        let partial = |lane: usize| {
            (lane..x.len()).step_by(lanes).map(|i| x[i] * w[i]).fold(0.0f32, |a, b| a + b)
        };
        (0..lanes).map(partial).fold(0.0, |a, b| a + b)
    }

    #[test]
    fn sums_in_any_order_stay_within_the_bound() {
        let mut largest = 0.0f64;
        for seed in 0..400 {
            let n = 1 + Random::new(seed).below(300);
            let (x, w) = (values(Profile::Normal, seed, n), values(Profile::Wide, seed + 1, n));
            let product = |(x, w): (&f32, &f32)| f64::from(*x) * f64::from(*w);
            let value: f64 = x.iter().zip(&w).map(product).sum();
            let magnitude: f64 = x.iter().zip(&w).map(product).map(f64::abs).sum();
            let p = Product {
                value: value as f32,
                magnitude: magnitude as f32,
                bias: 0.0,
                terms: n,
                largest: 1000.0,
            };
            let bound = linear(Format::F32, p);
            for lanes in [1, 4, 8, 16, 32] {
                let got = dot(&x, &w, lanes);
                assert!(bound.accepts(got), "{n} terms, {lanes} lanes: {got} for {bound:?}");
                largest = largest.max((f64::from(got) - bound.value).abs() / bound.error);
            }
            // A term left out is noticed unless it is nearly nothing.
            let short = dot(&x[1..], &w[1..], 8);
            let dropped = f64::from(x[0] * w[0]).abs();
            assert!(dropped < 3.0 * bound.error || !bound.accepts(short), "{n} terms, less one");
        }
        assert!(largest > 0.05, "the bound is {} times too wide", 1.0 / largest);
    }

    #[test]
    fn softmax_in_f32_stays_within_the_bound() {
        for seed in 0..300 {
            let n = 1 + Random::new(seed).below(300);
            let scale = [1.0, 30.0, 1000.0][seed as usize % 3];
            let scores: Vec<f32> =
                values(Profile::Normal, seed, n).iter().map(|s| s * scale).collect();
            let exact: Vec<Approx> = scores.iter().map(|&s| Approx::exact(s)).collect();
            let bounds = softmax(&exact);
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exps: Vec<f32> = scores.iter().map(|s| (s - largest).exp()).collect();
            let total: f32 = exps.iter().sum();
            let logs = log_softmax(&scores, 0.0);
            for (i, e) in exps.iter().enumerate() {
                assert!(bounds[i].accepts(e / total), "{} for {:?}", e / total, bounds[i]);
                let log = scores[i] - largest - total.ln();
                assert!(logs[i].accepts(log), "{log} for {:?}", logs[i]);
                assert!(!logs[i].accepts(log - 1e-3 * (1.0 + log.abs())), "{:?}", logs[i]);
            }
        }
    }

    #[test]
    fn each_operation_rounds_once() {
        let mut random = Random::new(1);
        for _ in 0..2000 {
            let (a, b) = (random.normal() as f32, random.normal() as f32);
            let (x, y) = (Approx::exact(a), Approx::exact(b));
            assert!(x.plus(y).accepts(a + b) && x.minus(y).accepts(a - b));
            assert!(x.times(y).accepts(a * b) && x.over(7).accepts(a * 7f32.recip()));
            let square = x.times(x).plus(Approx::exact(0.01));
            assert!(square.rsqrt().accepts((a * a + 0.01).sqrt().recip()));
            // Two units in the last place away is too far.
            let far = f32::from_bits((a * b).to_bits() + 2);
            assert!(!x.times(y).accepts(far));
        }
    }

    #[test]
    fn what_is_not_a_number_is_told_apart() {
        let nan = Approx::exact(f32::NAN);
        assert!(nan.accepts(f32::NAN) && !nan.accepts(0.0) && !nan.accepts(f32::INFINITY));
        let one = Approx::new(1.0, 1e-3);
        assert!(!one.accepts(f32::NAN) && !one.accepts(f32::INFINITY));
        let infinite = Approx::exact(f32::NEG_INFINITY);
        assert!(infinite.accepts(f32::NEG_INFINITY) && !infinite.accepts(f32::INFINITY));
        assert!(Approx::exact(1e39).accepts(f32::INFINITY));
        assert!(!Approx::new(1.0, f64::NAN).accepts(1.0));
    }
}
