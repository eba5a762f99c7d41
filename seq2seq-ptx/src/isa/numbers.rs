//! Floating-point rounding that the processor does not do by itself.

use half::{bf16, f16};

/// How a result is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To the nearest, to even.
    Nearest,
    /// To the nearest, away from zero.
    NearestAway,
    Zero,
    Down,
    Up,
}

impl Rounding {
    /// Rounding of a modifier, to floats or to integers.
    pub(crate) fn of(mark: &str) -> Option<Self> {
        Some(match mark {
            "rn" | "rni" => Self::Nearest,
            "rna" => Self::NearestAway,
            "rz" | "rzi" => Self::Zero,
            "rm" | "rmi" => Self::Down,
            "rp" | "rpi" => Self::Up,
            _ => return None,
        })
    }
}

pub(crate) fn single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// Bits of a result; NaN is the one that GPUs make.
pub(crate) fn single_bits(value: f32) -> u64 {
    if value.is_nan() { 0x7fff_ffff } else { u64::from(value.to_bits()) }
}

/// Zero with the value's sign instead of a subnormal number.
pub(crate) fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

/// `a + b` as a rounded sum and what it misses; exact (Knuth's two-sum).
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    (sum, if error.is_finite() { error } else { 0.0 })
}

/// Rounds `value + error`, with error below half a unit of value, to f32.
pub(crate) fn round_single(value: f64, error: f64, rounding: Rounding) -> f32 {
    let (near, below) = nearest_below(value, error);
    match rounding {
        Rounding::Nearest | Rounding::NearestAway => match (value as f32, error) {
            (near, 0.0) => near,
            _ => odd_to_nearest(value, error),
        },
        Rounding::Down => below,
        Rounding::Up => {
            if near {
                below
            } else {
                below.next_up()
            }
        }
        Rounding::Zero => {
            if near || below >= 0.0 {
                below
            } else {
                below.next_up()
            }
        }
    }
}

/// Whether an exact number is an f32, and the largest f32 that is not above it.
fn nearest_below(value: f64, error: f64) -> (bool, f32) {
    let near = value as f32;
    if !near.is_finite() {
        let below = if value.is_finite() && value > 0.0 { f32::MAX } else { near };
        return (!value.is_finite(), below);
    }
    let left = value - f64::from(near);
    let left = if left == 0.0 { error } else { left };
    (left == 0.0, if left < 0.0 { near.next_down() } else { near })
}

/// Rounds to nearest through a number of f64 that is rounded to odd, so that rounding twice does no harm.
fn odd_to_nearest(value: f64, error: f64) -> f32 {
    odd(value, error) as f32
}

/// `value + error`, rounded to an f64 whose last bit is odd unless it is exact.
fn odd(value: f64, error: f64) -> f64 {
    if error == 0.0 || !value.is_finite() {
        return value;
    }
    let toward_zero = (error < 0.0) == (value > 0.0);
    let bits = if toward_zero { value.to_bits() - 1 } else { value.to_bits() };
    f64::from_bits(bits | 1)
}

/// An f64, with what it misses, as an f32 whose last bit is odd unless it is exact. Rounding that to 16 bits is right.
pub(crate) fn odd_single(value: f64, error: f64) -> f32 {
    let value = odd(value, error);
    let truncated = round_single(value, 0.0, Rounding::Zero);
    if f64::from(truncated) == value || !truncated.is_finite() {
        return truncated;
    }
    f32::from_bits(truncated.to_bits() | 1)
}

/// A 16-bit format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Short {
    F16,
    Bf16,
}

impl Short {
    pub(crate) fn value(self, bits: u64) -> f32 {
        match self {
            Self::F16 => f16::from_bits(bits as u16).to_f32(),
            Self::Bf16 => bf16::from_bits(bits as u16).to_f32(),
        }
    }

    /// Rounds an f32.
    pub(crate) fn bits(self, value: f32, rounding: Rounding) -> u64 {
        if value.is_nan() {
            return 0x7fff;
        }
        let near = match self {
            Self::F16 => f16::from_f32(value).to_bits(),
            Self::Bf16 => bf16::from_f32(value).to_bits(),
        };
        let back = self.value(near.into());
        let too_far = match rounding {
            Rounding::Zero => back.abs() > value.abs(),
            Rounding::Down => back > value,
            Rounding::Up => back < value,
            Rounding::Nearest | Rounding::NearestAway => false,
        };
        if !too_far {
            return near.into();
        }
        // One step towards the wanted side: in magnitude down, or up for values of the other sign.
        let shrink = rounding == Rounding::Zero
            || (rounding == Rounding::Down) == (back > 0.0 || value > 0.0);
        let magnitude = near & 0x7fff;
        let stepped = if shrink { magnitude - 1 } else { magnitude + 1 };
        let sign = if near & 0x7fff == 0 && !shrink {
            if rounding == Rounding::Down { 0x8000 } else { 0 }
        } else {
            near & 0x8000
        };
        (stepped | sign).into()
    }

    /// Rounds `a * b + c`, exactly, to the nearest.
    pub(crate) fn fused(self, a: f32, b: f32, c: f32) -> u64 {
        let product = f64::from(a) * f64::from(b);
        let (sum, error) = two_sum(product, f64::from(c));
        if sum.is_nan() {
            return 0x7fff;
        }
        self.bits(odd_single(sum, error), Rounding::Nearest)
    }
}

/// The smaller number; of a number and a NaN the number, unless NaNs are to be passed on. -0 is below +0.
pub(crate) fn smaller(a: f64, b: f64, pass_nan: bool) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) | (_, true) if pass_nan => f64::NAN,
        (true, _) => b,
        (_, true) => a,
        _ if a == b => {
            if a.is_sign_negative() {
                a
            } else {
                b
            }
        }
        _ => {
            if a < b {
                a
            } else {
                b
            }
        }
    }
}

/// The larger number, as [`smaller`].
pub(crate) fn larger(a: f64, b: f64, pass_nan: bool) -> f64 {
    -smaller(-a, -b, pass_nan)
}
