//! The activations, in f64. NaN gives NaN.

use crate::Activation;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

/// `activation` of `x`.
///
/// ```
/// use seq2seq_core::{Activation, reference::activation::apply};
///
/// // x / (1 + e^-x)
/// assert!((apply(Activation::Silu, 1.0) - 1.0 / (1.0 + (-1f64).exp())).abs() < 1e-15);
/// // The limits of what is gated, though infinity times 0 is NaN.
/// assert_eq!(apply(Activation::Gelu, f64::NEG_INFINITY), 0.0);
/// assert!(apply(Activation::Relu, f64::NAN).is_nan());
/// ```
pub fn apply(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    // An infinite x times a vanished factor is 0, the limit, as the fused formulas have it.
    let gate = |factor: f64| if x == f64::NEG_INFINITY { 0.0 } else { x * factor };
    match activation {
        // Not `max`, which would drop a NaN.
        Activation::Relu if x < 0.0 => 0.0,
        Activation::Relu => x,
        Activation::Gelu => gate(0.5 * erfc(-x * FRAC_1_SQRT_2)),
        Activation::GeluTanh => {
            // 0.5 (1 + tanh z) = sigmoid(2 z), without cancellation where z is far below 0.
            gate(sigmoid(2.0 * (2.0 / PI).sqrt() * (x + 0.044_715 * x * x * x)))
        }
        Activation::QuickGelu => gate(sigmoid(1.702 * x)),
        Activation::Silu => gate(sigmoid(x)),
        Activation::Tanh => x.tanh(),
    }
}

/// The slope of `activation` at `x`; that of ReLU at 0 is 0, as PyTorch has it.
///
/// ```
/// use seq2seq_core::{Activation, reference::activation::{apply, slope}};
///
/// let difference = |a, x: f64| (apply(a, x + 1e-5) - apply(a, x - 1e-5)) / 2e-5;
/// for activation in [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Silu, Activation::Tanh] {
///     assert!((slope(activation, 0.7) - difference(activation, 0.7)).abs() < 1e-9);
/// }
/// assert_eq!(slope(Activation::Relu, 0.0), 0.0);
/// ```
pub fn slope(activation: Activation, x: f64) -> f64 {
    // σ(z) and x dσ(z)/dx, whose limits are 0 on both sides.
    let gated = |z: f64, dz: f64| {
        let s = 1.0 / (1.0 + (-z).exp());
        let rest = s * (1.0 - s);
        s + if rest == 0.0 { 0.0 } else { x * rest * dz }
    };
    match activation {
        // Not a comparison alone, which would drop a NaN.
        Activation::Relu if x.is_nan() => x,
        Activation::Relu => f64::from(x > 0.0),
        Activation::Gelu => {
            let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
            let tail = if density == 0.0 { 0.0 } else { x * density };
            0.5 * erfc(-x * FRAC_1_SQRT_2) + tail
        }
        Activation::GeluTanh => {
            let c = 2.0 * (2.0 / PI).sqrt();
            gated(c * (x + 0.044_715 * x * x * x), c * (1.0 + 3.0 * 0.044_715 * x * x))
        }
        Activation::QuickGelu => gated(1.702 * x, 1.702),
        Activation::Silu => gated(x, 1.0),
        Activation::Tanh => 1.0 - x.tanh().powi(2),
    }
}

/// 1 - erf(x), with a relative error of about 1e-14 (Abramowitz and Stegun 7.1.6 and 7.1.14).
///
/// ```
/// use seq2seq_core::reference::activation::erfc;
///
/// assert_eq!(erfc(0.0), 1.0);
/// // Far out, where 1 - erf(x) would be 0.
/// assert!((erfc(10.0) / 2.088_487_583_762_545e-45 - 1.0).abs() < 1e-12);
/// ```
pub fn erfc(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.5 {
        // erf(x) = 2/√π e^(-x²) Σ 2ⁿ x^(2n+1) / (2n+1)!!, every term positive.
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term > sum * 1e-18 {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        return 1.0 - FRAC_2_SQRT_PI * (-x * x).exp() * sum;
    }
    // √π e^(x²) erfc(x) = 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...)))), from the inside out.
    let fraction = (1..=120).rev().fold(x, |tail, n| x + 0.5 * f64::from(n) / tail);
    (-x * x).exp() * 0.5 * FRAC_2_SQRT_PI / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the C library's `erfc`.
    #[test]
    fn erfc_is_known() {
        for (x, want) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_13),
            (2.0, 0.004_677_734_981_047_266),
            (2.4999, 4.071_699_003_334_514e-4),
            (2.5, 4.069_520_174_449_589e-4),
            (4.0, 1.541_725_790_028_002e-8),
            (10.0, 2.088_487_583_762_545e-45),
            (-1.0, 1.842_700_792_949_715),
        ] {
            let got = erfc(x);
            assert!((got - want).abs() <= 1e-12 * want, "erfc({x}) = {got}, not {want}");
        }
    }

    #[test]
    fn activations_are_known() {
        for (activation, x, want) in [
            (Activation::Relu, -1.0, 0.0),
            (Activation::Relu, 2.0, 2.0),
            (Activation::Gelu, 1.0, 0.841_344_746_068_542_9),
            (Activation::Gelu, -3.0, -0.004_049_694_094_890),
            (Activation::GeluTanh, 1.0, 0.841_191_990_608_276_6),
            (Activation::QuickGelu, 1.0, 0.845_795_765_932_821),
            (Activation::Silu, -1.0, -0.268_941_421_369_995_1),
            (Activation::Tanh, 0.5, 0.462_117_157_260_009_8),
        ] {
            let got = apply(activation, x);
            assert!((got - want).abs() < 1e-11, "{activation:?}({x}) = {got}, not {want}");
        }
    }

    /// Central differences, but at the corner of ReLU; and the limits.
    #[test]
    fn slopes_are_those_of_the_values() {
        use Activation::*;
        for activation in [Relu, Gelu, GeluTanh, QuickGelu, Silu, Tanh] {
            for i in -60..60 {
                let (x, h) = (f64::from(i) * 0.137 + 0.05, 1e-5);
                let rise = apply(activation, x + h) - apply(activation, x - h);
                let (want, got) = (rise / (2.0 * h), slope(activation, x));
                assert!((got - want).abs() < 1e-9, "{activation:?}'({x}) = {got}, not {want}");
            }
            let above = if activation == Tanh { 0.0 } else { 1.0 };
            for far in [1e4, 1e30, f64::INFINITY] {
                assert_eq!(slope(activation, far), above, "{activation:?}'({far})");
                assert_eq!(slope(activation, -far), 0.0, "{activation:?}'(-{far})");
            }
            assert!(slope(activation, f64::NAN).is_nan(), "{activation:?}");
        }
        assert_eq!(slope(Relu, 0.0), 0.0);
    }

    #[test]
    fn limits_and_nan() {
        use Activation::*;
        for activation in [Relu, Gelu, GeluTanh, QuickGelu, Silu, Tanh] {
            let below = if activation == Tanh { -1.0 } else { 0.0 };
            let above = if activation == Tanh { 1.0 } else { f64::INFINITY };
            assert_eq!(apply(activation, f64::NEG_INFINITY), below, "{activation:?}");
            assert_eq!(apply(activation, f64::INFINITY), above, "{activation:?}");
            assert_eq!(apply(activation, -1e30), below, "{activation:?}");
            assert!(apply(activation, f64::NAN).is_nan(), "{activation:?}");
            assert_eq!(apply(activation, 0.0), 0.0, "{activation:?}");
        }
    }
}
