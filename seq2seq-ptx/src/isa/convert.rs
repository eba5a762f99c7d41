//! Conversions between types.

use super::numbers::{Rounding, Short, flush, round_single, single, single_bits};
use crate::machine::{Step, Stepped};
use crate::parse::{Line, Read, Type};
use crate::program::{Source, Target};

/// Conversions between types.
#[derive(Debug, Clone)]
pub(crate) enum Convert {
    /// One value.
    One { marks: Marks, to: Target, from: Source },
    /// Two f32 into a pair of 16-bit floats, the first in the high half.
    Pair { short: Short, rounding: Rounding, relu: bool, to: Target, from: [Source; 2] },
    /// To an integer of 8 bits in each byte: not an instruction of its own, but `cvt.pack`.
    Pack { signed: bool, to: Target, from: [Source; 3] },
}

/// From what to what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    result: Type,
    operand: Type,
    rounding: Rounding,
    /// Whether a float is rounded to an integral one.
    integral: bool,
    flush: bool,
    saturate: bool,
    relu: bool,
}

impl Convert {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let pack = line.flag("pack");
        let integral =
            line.find(|m| matches!(m, "rni" | "rzi" | "rmi" | "rpi").then(|| Rounding::of(m)));
        let rounding = line.find(Rounding::of);
        let (flush, saturate, relu) = (line.flag("ftz"), line.flag("sat"), line.flag("relu"));
        let types = line.types();
        if pack {
            let [Type::S8 | Type::U8, Type::S32, Type::B32] = types[..] else {
                return Err(line.unknown());
            };
            line.finish(4)?;
            let from = [line.source(1)?, line.source(2)?, line.source(3)?];
            return Ok(Self::Pack { signed: types[0] == Type::S8, to: line.target(0)?, from });
        }
        let [result, operand] = types[..] else { return Err(line.unknown()) };
        let rounding = integral.flatten().or(rounding).unwrap_or(Rounding::Nearest);
        if let (Type::F16x2 | Type::Bf16x2, Type::F32) = (result, operand) {
            line.finish(3)?;
            let short = if result == Type::F16x2 { Short::F16 } else { Short::Bf16 };
            let from = [line.source(1)?, line.source(2)?];
            return Ok(Self::Pair { short, rounding, relu, to: line.target(0)?, from });
        }
        let known = |t: Type| {
            t.is_integer()
                || matches!(t, Type::F16 | Type::Bf16 | Type::F32 | Type::F64 | Type::Tf32)
        };
        if !known(result) || !known(operand) {
            return Err(line.unknown());
        }
        line.finish(2)?;
        let marks = Marks {
            result,
            operand,
            rounding,
            integral: integral.is_some(),
            flush,
            saturate,
            relu,
        };
        Ok(Self::One { marks, to: line.target(0)?, from: line.source(1)? })
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<()> {
        match *self {
            Self::One { marks, to, from } => step.map1(to, from, |a| convert(marks, a)),
            Self::Pair { short, rounding, relu, to, from } => step.map2(to, from, |high, low| {
                let one = |v: u64| {
                    let value = single(v);
                    if relu && value < 0.0 { 0 } else { short.bits(value, rounding) }
                };
                one(high) << 16 | one(low)
            }),
            Self::Pack { signed, to, from } => step.map3(to, from, |a, b, c| {
                let byte = |v: u64| {
                    let v = v as i32;
                    let clamped = if signed { v.clamp(-128, 127) } else { v.clamp(0, 255) };
                    u64::from(clamped as u8)
                };
                (c << 16 & 0xffff_0000) | byte(a) << 8 | byte(b)
            }),
        }
        Ok(())
    }
}

fn convert(m: Marks, a: u64) -> u64 {
    match (m.operand.is_float(), m.result.is_float()) {
        (false, false) => whole(m, a),
        (false, true) => from_whole(m, m.operand.extend(a)),
        (true, false) => to_whole(m, a),
        (true, true) => float(m, a),
    }
}

/// Integer to integer; `.sat` keeps to the range of the result.
fn whole(m: Marks, a: u64) -> u64 {
    let value = m.operand.extend(a);
    if !m.saturate {
        return m.result.extend(value);
    }
    let wide = if m.operand.is_signed() { i128::from(value as i64) } else { i128::from(value) };
    let (low, high) = range(m.result);
    wide.clamp(low, high) as u64
}

/// The least and the greatest value of an integer type.
fn range(kind: Type) -> (i128, i128) {
    let bits = kind.bits();
    if kind.is_signed() {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    }
}

/// An integer, extended to 64 bits, to a float.
fn from_whole(m: Marks, value: u64) -> u64 {
    let signed = m.operand.is_signed();
    let magnitude = if signed { (value as i64).unsigned_abs() } else { value };
    let negative = signed && (value as i64) < 0;
    // Split so that both parts are exact in f64.
    let (high, low) = ((magnitude >> 32 << 32) as f64, (magnitude & 0xffff_ffff) as f64);
    let sign = if negative { -1.0 } else { 1.0 };
    let (sum, error) = super::numbers::two_sum(sign * high, sign * low);
    match m.result {
        Type::F64 => sum.to_bits(),
        Type::F32 => single_bits(round_single(sum, error, m.rounding)),
        Type::F16 => Short::F16.bits(super::numbers::odd_single(sum, error), m.rounding),
        _ => Short::Bf16.bits(super::numbers::odd_single(sum, error), m.rounding),
    }
}

/// The value of a float operand.
fn value(m: Marks, a: u64) -> f64 {
    match m.operand {
        Type::F16 => Short::F16.value(a).into(),
        Type::Bf16 => Short::Bf16.value(a).into(),
        Type::F64 => f64::from_bits(a),
        _ if m.flush => flush(single(a)).into(),
        _ => single(a).into(),
    }
}

fn integral(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::NearestAway => value.round(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

/// A float to an integer: out of range to the nearest that there is; NaN to zero, or the least of 64 bits.
fn to_whole(m: Marks, a: u64) -> u64 {
    let value = value(m, a);
    if value.is_nan() {
        return match (m.result.bits(), m.operand) {
            (64, _) => 1 << 63,
            (_, Type::F64) => 1 << 31,
            _ => 0,
        };
    }
    let (low, high) = range(m.result);
    (integral(value, m.rounding) as i128).clamp(low, high) as u64
}

fn float(m: Marks, a: u64) -> u64 {
    let mut value = value(m, a);
    if m.integral {
        value = integral(value, m.rounding);
    }
    if m.saturate {
        value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
    }
    if m.relu && value < 0.0 {
        value = 0.0;
    }
    let narrow = |rounding| round_single(value, 0.0, rounding);
    match m.result {
        Type::F64 => value.to_bits(),
        Type::F32 => {
            let narrowed = narrow(m.rounding);
            single_bits(if m.flush { flush(narrowed) } else { narrowed })
        }
        Type::Tf32 => tf32(value as f32, m.rounding),
        Type::F16 => Short::F16.bits(super::numbers::odd_single(value, 0.0), m.rounding),
        _ => Short::Bf16.bits(super::numbers::odd_single(value, 0.0), m.rounding),
    }
}

/// Keeps ten bits of an f32's fraction.
fn tf32(value: f32, rounding: Rounding) -> u64 {
    if !value.is_finite() {
        return single_bits(value);
    }
    let bits = value.to_bits();
    let up = match rounding {
        Rounding::NearestAway => 0x1000,
        Rounding::Nearest => 0xfff + (bits >> 13 & 1),
        _ => 0,
    };
    u64::from(bits.wrapping_add(up) & !0x1fff)
}
