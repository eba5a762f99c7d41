//! Exponential, tanh and the activations, lane by lane.
//!
//! The polynomials are minimax fits of ours (Remez exchange in 40 digits). Stated errors are relative, in units of
//! 2⁻²³ (`f32::EPSILON`), as the tests measure them over the range; infinities and NaN come out as IEEE 754 has the formula.

use super::{
    Simd,
    gelu_tables::{self, Table},
};
use seq2seq_core::Activation;
use std::f32::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E, SQRT_2};

/// Horner's scheme: the coefficients stand lowest power first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::V, coefficients: [f32; N]) -> S::V {
    let mut sum = s.splat(coefficients[N - 1]);
    for &c in coefficients.iter().rev().skip(1) {
        sum = s.fma(sum, x, s.splat(c));
    }
    sum
}

/// eˣ to 1.5 units, gradual underflow and overflow to infinity included.
///
/// x = n ln 2 + r with |r| ≤ ln 2 / 2, ln 2 in two parts (Cody and Waite 1980); eʳ = 1 + r + r² q(r).
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Beyond these the result is 0 or infinity anyway; NaN stands second and stays.
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let n = s.round(s.mul(x, s.splat(LOG2_E)));
    let r = s.fma(n, s.splat(-LN2_HIGH), x);
    let r = s.fma(n, s.splat(-LN2_LOW), r);
    let q =
        polynomial(s, r, [0.499_999_93, 0.166_665_2, 0.041_668_39, 0.008_368_717, 0.001_381_459_9]);
    let e = s.add(s.fma(s.mul(r, r), q, r), s.splat(1.0));
    s.scale(e, n)
}

/// 1 / (1 + e⁻ˣ) to 3 units; 0 where e⁻ˣ is infinite.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.zero(), x))))
}

/// tanh x to 1.6 units, the sign of zero included.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let [t] = tanh_each(s, [x]);
    t
}

/// tanh of several vectors, step by step: one alone is a chain of some fifty cycles.
///
/// With h = (e²ᵃ - 1) / 2, a = |x|, it is h / (h + 1), which loses nothing near 0. 2 a = n ln 2 + 2 r as in [`exp`], and
/// h = 2ⁿ (r + r² q(r)) + (2ⁿ - 1) / 2. One part of ln 2 is enough: what it lacks grows with a, and counts for less and less.
#[inline(always)]
pub(crate) fn tanh_each<S: Simd, const N: usize>(s: S, x: [S::V; N]) -> [S::V; N] {
    // Those of eˣ, for twice r and half the result.
    const Q: [f32; 5] = [0.999_999_9, 0.666_660_8, 0.333_347_1, 0.133_899_47, 0.044_206_717];
    let (one, half) = (s.splat(1.0), s.splat(0.5));
    let (mut r, mut power, mut h) = ([s.zero(); N], [s.zero(); N], [s.zero(); N]);
    for i in 0..N {
        // From 9.5 on it is 1; NaN stands second and stays.
        let magnitude = s.min(s.splat(9.5), s.abs(x[i]));
        let n = s.round(s.mul(magnitude, s.splat(2.0 * LOG2_E)));
        r[i] = s.fma(n, s.splat(-0.5 * LN_2), magnitude);
        power[i] = s.pow2(n);
    }
    for i in 0..N {
        // By halves, which takes less time than Horner's scheme.
        let square = s.mul(r[i], r[i]);
        let low = s.fma(r[i], s.splat(Q[1]), s.splat(Q[0]));
        let high = s.fma(r[i], s.splat(Q[3]), s.splat(Q[2]));
        let q = s.fma(s.fma(square, s.splat(Q[4]), high), square, low);
        h[i] = s.fma(square, q, r[i]);
    }
    for i in 0..N {
        h[i] = s.fma(power[i], h[i], s.fma(power[i], half, s.sub(s.zero(), half)));
    }
    for i in 0..N {
        h[i] = s.copysign(s.div(h[i], s.add(h[i], one)), x[i]);
    }
    h
}

/// x F(x) = max(x, 0) - |x| F(-|x|) by a table of F(-a), a ≥ 0: around each multiple of 1/2 a polynomial, and 0 from 7.25
/// on, where F is below 10⁻¹².
///
/// To 3 units down to -3.25. Below, where F falls ever more steeply, to 2⁻³¹ absolutely.
#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::V, table: &Table) -> S::V {
    const STEPS: f32 = 2.0;
    // Added to a number below 2²², it leaves the nearest integer in the lowest bits.
    const SHIFT: f32 = 12_582_912.0;
    // The last place of the table, which holds zeros. NaN stands second and stays.
    let a = s.min(s.splat(15.0 / STEPS), s.abs(x));
    let index = s.fma(a, s.splat(STEPS), s.splat(SHIFT));
    let rest = s.fma(s.sub(index, s.splat(SHIFT)), s.splat(-1.0 / STEPS), a);
    let [lower @ .., highest] = &table.0;
    let mut below = s.pick(highest, index);
    for coefficients in lower.iter().rev() {
        below = s.fma(below, rest, s.pick(coefficients, index));
    }
    s.fma(s.sub(s.zero(), a), below, s.max(s.zero(), x))
}

/// erfc(|x| / √2) and e^(-x²/2), |x| at most 20 √2.
///
/// With z = |x| / √2: erfc(z) = e^(-z²) t P(t), t = 1 / (1 + 0.3 z) (the form of Abramowitz and Stegun 7.1.26). What the
/// rounding of z² drops is put back to first order, as e^(-z²) would amplify it by z².
#[inline(always)]
fn erfc<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let one = s.splat(1.0);
    // erfc is 0 from 20 on, and nothing below becomes infinite.
    let magnitude = s.min(s.splat(20.0 * SQRT_2), s.abs(x));
    let t = s.div(one, s.fma(magnitude, s.splat(0.3 * FRAC_1_SQRT_2), one));
    let p = polynomial(
        s,
        t,
        [
            0.169_189_62,
            0.170_691_93,
            0.148_482_44,
            0.214_436_24,
            -0.093_631_16,
            0.546_394_9,
            -0.511_226_3,
            0.485_096_4,
            -0.129_434_07,
        ],
    );
    let minus_half = s.mul(magnitude, s.splat(-0.5));
    let square = s.mul(minus_half, magnitude);
    let dropped = s.fma(minus_half, magnitude, s.sub(s.zero(), square));
    let e = exp(s, square);
    let e = s.fma(e, dropped, e);
    (s.mul(s.mul(p, t), e), e)
}

/// x / (1 + e), the limit 0 where x is minus infinity and e infinite.
#[inline(always)]
fn gate<S: Simd>(s: S, x: S::V, e: S::V) -> S::V {
    s.div(s.max(s.splat(-f32::MAX), x), s.add(s.splat(1.0), e))
}

/// x σ(k x), to 2 units for x > -1.
#[inline(always)]
fn sigmoid_unit<S: Simd>(s: S, x: S::V, k: f32) -> S::V {
    gate(s, x, exp(s, s.mul(x, s.splat(-k))))
}

/// The slope of x σ(z): σ(z) + x σ(z) (1 - σ(z)) dz/dx.
#[inline(always)]
fn gated_slope<S: Simd>(s: S, x: S::V, z: S::V, dz: S::V) -> S::V {
    let one = s.splat(1.0);
    let sigmoid = s.div(one, s.add(one, exp(s, s.sub(s.zero(), z))));
    let rest = s.mul(sigmoid, s.sub(one, sigmoid));
    s.fma(s.mul(x, dz), rest, sigmoid)
}

/// The slope of an activation at `x`, off by at most a few 2⁻²³ absolutely; beyond ±100 it is that at ±100.
#[inline(always)]
pub(crate) fn slope<S: Simd>(s: S, activation: Activation, x: S::V) -> S::V {
    let one = s.splat(1.0);
    // NaN stands second and stays; nothing below becomes infinite times 0.
    let near = s.min(s.splat(100.0), s.max(s.splat(-100.0), x));
    match activation {
        Activation::Relu => {
            let step = s.select(s.lt(s.zero(), x), one, s.zero());
            s.select(s.eq(x, x), step, x)
        }
        Activation::Gelu => {
            // Φ(x) + x φ(x), Φ(x) = 1 - erfc(x / √2) / 2 above 0.
            let (erfc, e) = erfc(s, near);
            let tail = s.mul(erfc, s.splat(0.5));
            let below = s.lt(near, s.zero());
            let cumulative = s.select(below, tail, s.sub(one, tail));
            s.fma(s.mul(near, e), s.splat(0.398_942_3), cumulative)
        }
        Activation::GeluTanh => {
            const ROOT: f32 = 1.595_769;
            let square = s.mul(near, near);
            let cube = s.splat(0.044_715 * ROOT);
            let z = s.mul(near, s.fma(square, cube, s.splat(ROOT)));
            gated_slope(s, near, z, s.fma(square, s.splat(3.0 * 0.044_715 * ROOT), s.splat(ROOT)))
        }
        Activation::QuickGelu => gated_slope(s, near, s.mul(near, s.splat(1.702)), s.splat(1.702)),
        Activation::Silu => gated_slope(s, near, near, one),
        Activation::Tanh => {
            let t = tanh(s, x);
            s.sub(one, s.mul(t, t))
        }
    }
}

/// The activation of `x`.
#[inline(always)]
pub(crate) fn activate<S: Simd>(s: S, activation: Activation, x: S::V) -> S::V {
    match activation {
        Activation::Relu => s.max(s.zero(), x),
        Activation::Gelu => gelu(s, x, &gelu_tables::NORMAL),
        Activation::GeluTanh => gelu(s, x, &gelu_tables::LOGISTIC),
        Activation::QuickGelu => sigmoid_unit(s, x, 1.702),
        Activation::Silu => sigmoid_unit(s, x, 1.0),
        Activation::Tanh => tanh(s, x),
    }
}
