//! Arithmetic of f32 and f64.
//!
//! What the ISA calls approximate is computed as well as f64 can and then rounded: a GPU's own result may differ by the
//! error that the ISA allows (about one unit in the last place; 2^-11 of tanh).

use super::numbers::{
    Rounding, flush, larger, round_single, single, single_bits, smaller, two_sum,
};
use crate::machine::Step;
use crate::parse::{Line, Read, Type};
use crate::program::{Source, Target};

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum One {
    Neg,
    Abs,
    Reciprocal,
    Root,
    ReciprocalRoot,
    Exp2,
    Log2,
    Sin,
    Cos,
    Tanh,
}

/// A function of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Two {
    Add,
    Sub,
    Mul,
    Div,
    Min {
        nan: bool,
    },
    Max {
        nan: bool,
    },
    /// The second number with the sign of the first.
    CopySign,
}

/// What all arithmetic is marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    double: bool,
    rounding: Rounding,
    /// Subnormal numbers count as zero.
    flush: bool,
    /// Results are kept in [0, 1].
    saturate: bool,
}

/// Arithmetic of f32 and f64.
#[derive(Debug, Clone)]
pub(crate) enum Float {
    One { op: One, marks: Marks, to: Target, from: Source },
    Two { op: Two, marks: Marks, to: Target, from: [Source; 2] },
    Fma { marks: Marks, to: Target, from: [Source; 3] },
    Test { class: Class, double: bool, to: u32, from: Source },
}

/// A class of numbers for `testp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

impl Float {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        if line.name == "testp" {
            return Self::test(line);
        }
        let nan = line.flag("NaN");
        let marks = marks(line)?;
        let one = match line.name {
            "neg" => Some(One::Neg),
            "abs" => Some(One::Abs),
            "rcp" => Some(One::Reciprocal),
            "sqrt" => Some(One::Root),
            "rsqrt" => Some(One::ReciprocalRoot),
            "ex2" => Some(One::Exp2),
            "lg2" => Some(One::Log2),
            "sin" => Some(One::Sin),
            "cos" => Some(One::Cos),
            "tanh" => Some(One::Tanh),
            _ => None,
        };
        if let Some(op) = one {
            line.finish(2)?;
            return Ok(Self::One { op, marks, to: line.target(0)?, from: line.source(1)? });
        }
        let op = match line.name {
            "add" => Two::Add,
            "sub" => Two::Sub,
            "mul" => Two::Mul,
            "div" => Two::Div,
            "min" => Two::Min { nan },
            "max" => Two::Max { nan },
            "copysign" => Two::CopySign,
            _ => {
                line.finish(4)?;
                let from = [line.source(1)?, line.source(2)?, line.source(3)?];
                return Ok(Self::Fma { marks, to: line.target(0)?, from });
            }
        };
        line.finish(3)?;
        let from = [line.source(1)?, line.source(2)?];
        Ok(Self::Two { op, marks, to: line.target(0)?, from })
    }

    fn test(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let names = ["finite", "infinite", "number", "notanumber", "normal", "subnormal"];
        let class = match line.any(&names) {
            Some("finite") => Class::Finite,
            Some("infinite") => Class::Infinite,
            Some("number") => Class::Number,
            Some("notanumber") => Class::NotANumber,
            Some("normal") => Class::Normal,
            Some(_) => Class::Subnormal,
            None => return Err(line.unknown()),
        };
        let double = line.one_type()? == Type::F64;
        line.finish(2)?;
        Ok(Self::Test { class, double, to: line.predicate_target(0)?, from: line.source(1)? })
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) {
        match *self {
            Self::One { op, marks, to, from } => step.map1(to, from, |a| one(op, marks, a)),
            Self::Two { op: Two::Add, marks, to, from } if marks.plain() => {
                step.map2(to, from, |a, b| single_bits(single(a) + single(b)));
            }
            Self::Two { op: Two::Sub, marks, to, from } if marks.plain() => {
                step.map2(to, from, |a, b| single_bits(single(a) - single(b)));
            }
            Self::Two { op: Two::Mul, marks, to, from } if marks.plain() => {
                step.map2(to, from, |a, b| single_bits(single(a) * single(b)));
            }
            Self::Two { op, marks, to, from } => {
                step.map2(to, from, |a, b| two(op, marks, a, b));
            }
            Self::Fma { marks, to, from } if marks.plain() => {
                step.map3(to, from, |a, b, c| single_bits(single(a).mul_add(single(b), single(c))))
            }
            Self::Fma { marks, to, from } => step.map3(to, from, |a, b, c| fma(marks, a, b, c)),
            Self::Test { class, double, to, from } => {
                let bits = step.compare([from, from], |a, _| test(class, double, a));
                step.set_predicate(to, bits);
            }
        }
    }
}

fn marks(line: &mut Line<'_, '_, '_>) -> Read<Marks> {
    let rounding = line.find(Rounding::of).unwrap_or(Rounding::Nearest);
    line.any(&["approx", "full"]);
    let marks = Marks {
        double: line.one_type()? == Type::F64,
        rounding,
        flush: line.flag("ftz"),
        saturate: line.flag("sat"),
    };
    // The double instructions with .ftz only flush for their approximate reciprocals, which are computed here in full.
    let exact = matches!(line.name, "add" | "sub" | "mul" | "fma" | "mad");
    if rounding != Rounding::Nearest && (marks.double || !exact) {
        return Err(line.unknown());
    }
    Ok(marks)
}

impl Marks {
    /// Ordinary arithmetic of f32.
    fn plain(self) -> bool {
        !self.double && !self.flush && !self.saturate && self.rounding == Rounding::Nearest
    }

    fn input(self, bits: u64) -> f32 {
        if self.flush { flush(single(bits)) } else { single(bits) }
    }

    fn output(self, value: f32) -> u64 {
        let value = if self.flush { flush(value) } else { value };
        single_bits(match self.saturate {
            true if value.is_nan() => 0.0,
            true => value.clamp(0.0, 1.0),
            false => value,
        })
    }
}

fn one(op: One, marks: Marks, a: u64) -> u64 {
    let wide = if marks.double { f64::from_bits(a) } else { f64::from(marks.input(a)) };
    let result = match op {
        One::Neg => -wide,
        One::Abs => wide.abs(),
        One::Reciprocal => 1.0 / wide,
        One::Root => wide.sqrt(),
        One::ReciprocalRoot => 1.0 / wide.sqrt(),
        One::Exp2 => wide.exp2(),
        One::Log2 => wide.log2(),
        One::Sin => wide.sin(),
        One::Cos => wide.cos(),
        One::Tanh => wide.tanh(),
    };
    match (op, marks.double) {
        // These only touch the sign, of a NaN too.
        (One::Neg, true) => a ^ 1 << 63,
        (One::Abs, true) => a & !(1 << 63),
        (_, true) => result.to_bits(),
        (_, false) => marks.output(result as f32),
    }
}

fn two(op: Two, marks: Marks, a: u64, b: u64) -> u64 {
    if marks.double {
        return double(op, f64::from_bits(a), f64::from_bits(b)).to_bits();
    }
    let (x, y) = (marks.input(a), marks.input(b));
    let (wx, wy) = (f64::from(x), f64::from(y));
    marks.output(match op {
        Two::Add | Two::Sub => {
            let (sum, error) = two_sum(wx, if op == Two::Sub { -wy } else { wy });
            round_single(sum, error, marks.rounding)
        }
        Two::Mul => round_single(wx * wy, 0.0, marks.rounding),
        Two::Div => x / y,
        Two::Min { .. } | Two::Max { .. } | Two::CopySign => double(op, wx, wy) as f32,
    })
}

fn double(op: Two, a: f64, b: f64) -> f64 {
    match op {
        Two::Add => a + b,
        Two::Sub => a - b,
        Two::Mul => a * b,
        Two::Div => a / b,
        Two::Min { nan } => smaller(a, b, nan),
        Two::Max { nan } => larger(a, b, nan),
        Two::CopySign => b.copysign(a),
    }
}

fn fma(marks: Marks, a: u64, b: u64, c: u64) -> u64 {
    if marks.double {
        return f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c)).to_bits();
    }
    let (a, b, c) = (marks.input(a), marks.input(b), marks.input(c));
    if marks.rounding == Rounding::Nearest {
        return marks.output(a.mul_add(b, c));
    }
    // A product of two f32 is exact in f64.
    let (sum, error) = two_sum(f64::from(a) * f64::from(b), f64::from(c));
    marks.output(round_single(sum, error, marks.rounding))
}

fn test(class: Class, double: bool, a: u64) -> bool {
    use std::num::FpCategory as C;
    let category = if double { f64::from_bits(a).classify() } else { single(a).classify() };
    match class {
        Class::Finite => !matches!(category, C::Nan | C::Infinite),
        Class::Infinite => category == C::Infinite,
        Class::Number => category != C::Nan,
        Class::NotANumber => category == C::Nan,
        Class::Normal => category == C::Normal || category == C::Zero,
        Class::Subnormal => category == C::Subnormal,
    }
}
