//! Logic, shifts and bit fields.

use crate::machine::Step;
use crate::parse::{Line, Operand, Read, Type};
use crate::program::{Predicate, Source, Target};

/// An operation of two operands, on bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Two {
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// An operation of one operand, on bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum One {
    Not,
    IsZero,
    Count,
    LeadingZeros,
    Reverse,
    /// Place of the highest bit that differs from the sign, or, in `shiftamt`, how far it is from the top.
    Find {
        shift: bool,
    },
}

/// Logic, shifts and bit fields.
#[derive(Debug, Clone)]
pub(crate) enum Bits {
    Two {
        op: Two,
        kind: Type,
        to: Target,
        from: [Source; 2],
    },
    One {
        op: One,
        kind: Type,
        to: Target,
        from: Source,
    },
    Predicates {
        op: Two,
        to: u32,
        from: [Predicate; 2],
    },
    NotPredicate {
        to: u32,
        from: Predicate,
    },
    /// Shift of two registers as one.
    Funnel {
        left: bool,
        wraps: bool,
        to: Target,
        from: [Source; 3],
    },
    Permute {
        mode: Mode,
        to: Target,
        from: [Source; 3],
    },
    Extract {
        kind: Type,
        to: Target,
        from: [Source; 3],
    },
    Insert {
        kind: Type,
        to: Target,
        from: [Source; 4],
    },
    Logic {
        table: u8,
        to: Target,
        from: [Source; 3],
    },
}

/// How `prmt` picks bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Any,
    Forward,
    Backward,
    Replicate,
    EdgeLeft,
    EdgeRight,
    Words,
}

impl Bits {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        match line.name {
            "and" | "or" | "xor" | "shl" | "shr" => Self::two(line),
            "not" | "cnot" | "popc" | "clz" | "brev" | "bfind" => Self::one(line),
            "shf" => {
                let left = match line.any(&["l", "r"]) {
                    Some(way) => way == "l",
                    None => return Err(line.unknown()),
                };
                let wraps = match line.any(&["wrap", "clamp"]) {
                    Some(way) => way == "wrap",
                    None => return Err(line.unknown()),
                };
                line.one_type()?;
                let (to, from) = Self::three(line)?;
                Ok(Self::Funnel { left, wraps, to, from })
            }
            "prmt" => {
                line.one_type()?;
                let mode = match line.any(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]) {
                    None => Mode::Any,
                    Some("f4e") => Mode::Forward,
                    Some("b4e") => Mode::Backward,
                    Some("rc8") => Mode::Replicate,
                    Some("ecl") => Mode::EdgeLeft,
                    Some("ecr") => Mode::EdgeRight,
                    Some(_) => Mode::Words,
                };
                let (to, from) = Self::three(line)?;
                Ok(Self::Permute { mode, to, from })
            }
            "bfe" => {
                let kind = line.one_type()?;
                let (to, from) = Self::three(line)?;
                Ok(Self::Extract { kind, to, from })
            }
            "bfi" => {
                let kind = line.one_type()?;
                line.finish(5)?;
                let from = [line.source(1)?, line.source(2)?, line.source(3)?, line.source(4)?];
                Ok(Self::Insert { kind, to: line.target(0)?, from })
            }
            "lop3" => {
                line.one_type()?;
                line.finish(5)?;
                let from = [line.source(1)?, line.source(2)?, line.source(3)?];
                Ok(Self::Logic { table: line.immediate(4)? as u8, to: line.target(0)?, from })
            }
            _ => Err(line.unknown()),
        }
    }

    fn three(line: &mut Line<'_, '_, '_>) -> Read<(Target, [Source; 3])> {
        line.finish(4)?;
        Ok((line.target(0)?, [line.source(1)?, line.source(2)?, line.source(3)?]))
    }

    fn two(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let op = match line.name {
            "and" => Two::And,
            "or" => Two::Or,
            "xor" => Two::Xor,
            "shl" => Two::ShiftLeft,
            _ => Two::ShiftRight,
        };
        let kind = line.one_type()?;
        line.finish(3)?;
        if kind == Type::Pred {
            let from = [line.predicate(1)?, line.predicate(2)?];
            return Ok(Self::Predicates { op, to: line.predicate_target(0)?, from });
        }
        let from = [line.source(1)?, line.source(2)?];
        Ok(Self::Two { op, kind, to: line.target(0)?, from })
    }

    fn one(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let op = match line.name {
            "not" => One::Not,
            "cnot" => One::IsZero,
            "popc" => One::Count,
            "clz" => One::LeadingZeros,
            "brev" => One::Reverse,
            _ => One::Find { shift: line.flag("shiftamt") },
        };
        let kind = line.one_type()?;
        line.finish(2)?;
        if kind == Type::Pred && matches!(line.operands[0], Operand::Predicate { .. }) {
            return Ok(Self::NotPredicate {
                to: line.predicate_target(0)?,
                from: line.predicate(1)?,
            });
        }
        Ok(Self::One { op, kind, to: line.target(0)?, from: line.source(1)? })
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) {
        match *self {
            Self::Two { op, kind, to, from } => two(op, kind, step, to, from),
            Self::One { op, kind, to, from } => {
                step.map1(to, from, |a| one(op, kind, kind.extend(a)));
            }
            Self::Predicates { op, to, from } => {
                let (a, b) = (step.holds(from[0]), step.holds(from[1]));
                let bits = match op {
                    Two::And => a & b,
                    Two::Or => a | b,
                    _ => a ^ b,
                };
                step.set_predicate(to, bits);
            }
            Self::NotPredicate { to, from } => {
                let bits = !step.holds(from);
                step.set_predicate(to, bits);
            }
            Self::Funnel { left, wraps, to, from } => step.map3(to, from, |low, high, by| {
                let by = if wraps { by & 31 } else { (by & 0xffff_ffff).min(32) };
                let both = (high & 0xffff_ffff) << 32 | low & 0xffff_ffff;
                if left { (both << by) >> 32 } else { both >> by & 0xffff_ffff }
            }),
            Self::Permute { mode, to, from } => {
                step.map3(to, from, |a, b, by| permute(mode, a, b, by));
            }
            Self::Extract { kind, to, from } => {
                step.map3(to, from, |a, at, length| extract(kind, a, at, length));
            }
            Self::Insert { kind, to, from } => {
                let [a, b, at, length] = from.map(|s| step.get(s));
                let values = std::array::from_fn(|lane| {
                    insert(kind, a[lane], b[lane], at[lane], length[lane])
                });
                step.set(to, &values);
            }
            Self::Logic { table, to, from } => step.map3(to, from, |a, b, c| logic(table, a, b, c)),
        }
    }
}

fn two(op: Two, kind: Type, step: &mut Step<'_>, to: Target, from: [Source; 2]) {
    let width = u64::from(kind.bits());
    match op {
        Two::And => step.map2(to, from, |a, b| a & b),
        Two::Or => step.map2(to, from, |a, b| a | b),
        Two::Xor => step.map2(to, from, |a, b| a ^ b),
        Two::ShiftLeft => step.map2(to, from, |a, by| {
            let by = by & 0xffff_ffff;
            if by >= width { 0 } else { (a << by) & kind.mask() }
        }),
        Two::ShiftRight => step.map2(to, from, |a, by| {
            let (a, by) = (kind.extend(a), by & 0xffff_ffff);
            if kind.is_signed() {
                (a as i64 >> by.min(63)) as u64
            } else if by >= width {
                0
            } else {
                a >> by
            }
        }),
    }
}

fn one(op: One, kind: Type, a: u64) -> u64 {
    let top = 64 - kind.bits();
    match op {
        One::Not => !a & kind.mask(),
        One::IsZero => u64::from(a == 0),
        One::Count => u64::from((a & kind.mask()).count_ones()),
        One::LeadingZeros => u64::from((a & kind.mask()).leading_zeros() - top),
        One::Reverse => a.reverse_bits() >> top,
        One::Find { shift } => {
            let a = if kind.is_signed() && (a as i64) < 0 { !a } else { a } & kind.mask();
            match (a, shift) {
                (0, _) => 0xffff_ffff,
                (a, true) => u64::from(a.leading_zeros() - top),
                (a, false) => u64::from(63 - a.leading_zeros()),
            }
        }
    }
}

fn permute(mode: Mode, a: u64, b: u64, by: u64) -> u64 {
    let both = (b & 0xffff_ffff) << 32 | a & 0xffff_ffff;
    let byte = |i: u64| both >> (8 * (i & 7)) & 0xff;
    let low = by & 3;
    (0..4).fold(0, |word, i| {
        let picked = match mode {
            Mode::Any => {
                let pick = by >> (4 * i);
                let value = byte(pick);
                // The highest bit of a selector asks for copies of the byte's sign.
                if pick & 8 == 0 { value } else { (value >> 7) * 0xff }
            }
            Mode::Forward => byte(low + i),
            Mode::Backward => byte((low + 8 - i) & 7),
            Mode::Replicate => byte(low),
            Mode::EdgeLeft => byte(i.max(low)),
            Mode::EdgeRight => byte(i.min(low)),
            Mode::Words => byte((by & 1) * 2 + (i & 1)),
        };
        word | picked << (8 * i)
    })
}

fn extract(kind: Type, a: u64, at: u64, length: u64) -> u64 {
    let width = u64::from(kind.bits());
    let (a, at, length) = (a & kind.mask(), at & 0xff, length & 0xff);
    if length == 0 {
        return 0;
    }
    let sign = if kind.is_signed() { a >> (at + length - 1).min(width - 1) & 1 } else { 0 };
    let kept = length.min(width.saturating_sub(at));
    let field = if at >= width { 0 } else { a >> at };
    let mask = if kept >= 64 { u64::MAX } else { (1 << kept) - 1 };
    (if sign == 1 { field & mask | !mask } else { field & mask }) & kind.mask()
}

fn insert(kind: Type, a: u64, b: u64, at: u64, length: u64) -> u64 {
    let width = u64::from(kind.bits());
    let (at, length) = (at & 0xff, length & 0xff);
    if at >= width {
        return b & kind.mask();
    }
    let ones = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
    let mask = (ones << at) & kind.mask();
    (b & !mask | (a << at) & mask) & kind.mask()
}

fn logic(table: u8, a: u64, b: u64, c: u64) -> u64 {
    (0..8).filter(|i| table >> i & 1 == 1).fold(0, |word, i| {
        let pick = |x: u64, bit: u8| if i >> bit & 1 == 1 { x } else { !x };
        word | pick(a, 2) & pick(b, 1) & pick(c, 0)
    }) & 0xffff_ffff
}
