//! Integer arithmetic.

use crate::machine::Step;
use crate::parse::{Line, Read, Type};
use crate::program::{Source, Target};

/// An operation of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Two {
    Add,
    AddSaturating,
    Sub,
    SubSaturating,
    Div,
    Rem,
    Min,
    Max,
}

/// Which part of a product is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Low,
    High,
    Wide,
}

/// Integer arithmetic.
#[derive(Debug, Clone)]
pub(crate) enum Integer {
    Two {
        op: Two,
        kind: Type,
        to: Target,
        from: [Source; 2],
    },
    Neg {
        kind: Type,
        to: Target,
        from: Source,
    },
    Abs {
        kind: Type,
        to: Target,
        from: Source,
    },
    Mul {
        part: Part,
        kind: Type,
        to: Target,
        from: [Source; 2],
    },
    Mad {
        part: Part,
        kind: Type,
        to: Target,
        from: [Source; 3],
    },
    /// Sum of the products of four signed or unsigned bytes, and a third operand.
    Dot {
        signed: [bool; 2],
        to: Target,
        from: [Source; 3],
    },
    /// |a - b| + c
    Sad {
        kind: Type,
        to: Target,
        from: [Source; 3],
    },
}

impl Integer {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let saturating = line.flag("sat");
        let part = match line.any(&["lo", "hi", "wide"]) {
            Some("hi") => Part::High,
            Some("wide") => Part::Wide,
            _ => Part::Low,
        };
        if line.name == "dp4a" {
            let kinds = line.types();
            line.finish(4)?;
            let [a, b] = kinds[..] else { return Err(line.unknown()) };
            let from = [line.source(1)?, line.source(2)?, line.source(3)?];
            let signed = [a == Type::S32, b == Type::S32];
            return Ok(Self::Dot { signed, to: line.target(0)?, from });
        }
        let kind = line.one_type()?;
        if !kind.is_integer() || kind.bits() < 16 || (saturating && kind != Type::S32) {
            return Err(line.unknown());
        }
        let two = |op, line: &mut Line<'_, '_, '_>| {
            line.finish(3)?;
            let from = [line.source(1)?, line.source(2)?];
            Ok(Self::Two { op, kind, to: line.target(0)?, from })
        };
        match line.name {
            "add" => two(if saturating { Two::AddSaturating } else { Two::Add }, line),
            "sub" => two(if saturating { Two::SubSaturating } else { Two::Sub }, line),
            "div" => two(Two::Div, line),
            "rem" => two(Two::Rem, line),
            "min" => two(Two::Min, line),
            "max" => two(Two::Max, line),
            "neg" => {
                line.finish(2)?;
                Ok(Self::Neg { kind, to: line.target(0)?, from: line.source(1)? })
            }
            "abs" => {
                line.finish(2)?;
                Ok(Self::Abs { kind, to: line.target(0)?, from: line.source(1)? })
            }
            "mul" => {
                line.finish(3)?;
                let from = [line.source(1)?, line.source(2)?];
                Ok(Self::Mul { part, kind, to: line.target(0)?, from })
            }
            "mad" | "sad" if !saturating => {
                line.finish(4)?;
                let from = [line.source(1)?, line.source(2)?, line.source(3)?];
                let to = line.target(0)?;
                Ok(if line.name == "mad" {
                    Self::Mad { part, kind, to, from }
                } else {
                    Self::Sad { kind, to, from }
                })
            }
            _ => Err(line.unknown()),
        }
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) {
        match *self {
            Self::Two { op, kind, to, from } => two(op, kind, step, to, from),
            Self::Neg { kind, to, from } => {
                step.map1(to, from, |a| kind.extend(a).wrapping_neg());
            }
            Self::Abs { kind, to, from } => {
                step.map1(to, from, |a| (kind.extend(a) as i64).unsigned_abs());
            }
            Self::Mul { part, kind, to, from } => {
                step.map2(to, from, |a, b| product(part, kind, a, b))
            }
            Self::Mad { part, kind, to, from } => {
                step.map3(to, from, |a, b, c| product(part, kind, a, b).wrapping_add(c))
            }
            Self::Dot { signed, to, from } => step.map3(to, from, |a, b, c| dot(signed, a, b, c)),
            Self::Sad { kind, to, from } => step.map3(to, from, |a, b, c| {
                let (a, b) = (kind.extend(a), kind.extend(b));
                let far =
                    if kind.is_signed() { (a as i64).abs_diff(b as i64) } else { a.abs_diff(b) };
                far.wrapping_add(c)
            }),
        }
    }
}

/// Runs `$body` for lanes whose operands have the type of an instruction.
macro_rules! typed {
    ($step:ident, $to:ident, $from:ident, $kind:ident, |$a:ident, $b:ident| $body:expr) => {{
        macro_rules! lanes {
            ($t:ty) => {
                $step.map2($to, $from, |a, b| {
                    let ($a, $b) = (a as $t, b as $t);
                    ($body) as u64
                })
            };
        }
        match $kind {
            Type::S16 => lanes!(i16),
            Type::S32 => lanes!(i32),
            Type::S64 => lanes!(i64),
            Type::U16 | Type::B16 => lanes!(u16),
            Type::U64 | Type::B64 => lanes!(u64),
            _ => lanes!(u32),
        }
    }};
}

fn two(op: Two, kind: Type, step: &mut Step<'_>, to: Target, from: [Source; 2]) {
    match op {
        Two::Add => typed!(step, to, from, kind, |a, b| a.wrapping_add(b)),
        Two::AddSaturating => typed!(step, to, from, kind, |a, b| a.saturating_add(b)),
        Two::Sub => typed!(step, to, from, kind, |a, b| a.wrapping_sub(b)),
        Two::SubSaturating => typed!(step, to, from, kind, |a, b| a.saturating_sub(b)),
        // The ISA leaves a division by zero unspecified; GPUs give all ones, and the dividend as the remainder.
        Two::Div => {
            typed!(step, to, from, kind, |a, b| if b == 0 { !b } else { a.wrapping_div(b) });
        }
        Two::Rem => {
            typed!(step, to, from, kind, |a, b| if b == 0 { a } else { a.wrapping_rem(b) });
        }
        Two::Min => typed!(step, to, from, kind, |a, b| a.min(b)),
        Two::Max => typed!(step, to, from, kind, |a, b| a.max(b)),
    }
}

fn product(part: Part, kind: Type, a: u64, b: u64) -> u64 {
    let (a, b) = (kind.extend(a), kind.extend(b));
    if part == Part::High && kind.bits() == 64 {
        return if kind.is_signed() {
            ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
        } else {
            ((u128::from(a) * u128::from(b)) >> 64) as u64
        };
    }
    let product = a.wrapping_mul(b);
    match part {
        Part::Low | Part::Wide => product,
        Part::High if kind.is_signed() => (product as i64 >> kind.bits()) as u64,
        Part::High => product >> kind.bits(),
    }
}

fn dot(signed: [bool; 2], a: u64, b: u64, c: u64) -> u64 {
    let byte = |x: u64, i: u32, signed: bool| {
        let byte = (x >> (8 * i)) as u8;
        if signed { i32::from(byte as i8) } else { i32::from(byte) }
    };
    let sum = (0..4).map(|i| byte(a, i, signed[0]) * byte(b, i, signed[1])).sum::<i32>();
    u64::from((c as u32).wrapping_add(sum as u32))
}
