//! Comparisons and choices.

use super::numbers::{Short, flush, single};
use crate::machine::Step;
use crate::parse::{Line, Operand, Read, Type};
use crate::program::{Predicate, Source, Target};
use std::cmp::Ordering;

/// A relation of two values: which outcomes satisfy it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relation {
    less: bool,
    equal: bool,
    greater: bool,
    /// One of them is NaN.
    unordered: bool,
}

impl Relation {
    fn of(mark: &str) -> Option<Self> {
        let (less, equal, greater, unordered) = match mark {
            "eq" => (false, true, false, false),
            "ne" => (true, false, true, false),
            "lt" | "lo" => (true, false, false, false),
            "le" | "ls" => (true, true, false, false),
            "gt" | "hi" => (false, false, true, false),
            "ge" | "hs" => (false, true, true, false),
            "equ" => (false, true, false, true),
            "neu" => (true, false, true, true),
            "ltu" => (true, false, false, true),
            "leu" => (true, true, false, true),
            "gtu" => (false, false, true, true),
            "geu" => (false, true, true, true),
            "num" => (true, true, true, false),
            "nan" => (false, false, false, true),
            _ => return None,
        };
        Some(Self { less, equal, greater, unordered })
    }

    fn holds(self, order: Option<Ordering>) -> bool {
        match order {
            Some(Ordering::Less) => self.less,
            Some(Ordering::Equal) => self.equal,
            Some(Ordering::Greater) => self.greater,
            None => self.unordered,
        }
    }
}

/// What a comparison is combined with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combine {
    And(Predicate),
    Or(Predicate),
    Xor(Predicate),
}

/// Comparisons and choices.
#[derive(Debug, Clone)]
pub(crate) enum Compare {
    SetPredicate {
        relation: Relation,
        kind: Type,
        flush: bool,
        combine: Option<Combine>,
        to: u32,
        /// Takes the outcome of the opposite comparison.
        opposite: Option<u32>,
        from: [Source; 2],
    },
    /// All ones, or 1.0, where a comparison holds.
    Set {
        relation: Relation,
        kind: Type,
        flush: bool,
        one: u64,
        to: Target,
        from: [Source; 2],
    },
    Select {
        to: Target,
        from: [Source; 2],
        by: Predicate,
    },
    SelectPredicate {
        to: u32,
        from: [Predicate; 2],
        by: Predicate,
    },
    /// The first where the third is not negative, else the second.
    BySign {
        kind: Type,
        to: Target,
        from: [Source; 3],
    },
}

impl Compare {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        match line.name {
            "setp" => Self::set_predicate(line),
            "set" => {
                let relation = line.find(Relation::of).ok_or_else(|| line.unknown())?;
                let flush = line.flag("ftz");
                let [result, kind] = line.types()[..] else { return Err(line.unknown()) };
                let one = if result == Type::F32 { 0x3f80_0000 } else { 0xffff_ffff };
                line.finish(3)?;
                let from = [line.source(1)?, line.source(2)?];
                Ok(Self::Set { relation, kind, flush, one, to: line.target(0)?, from })
            }
            "selp" => {
                let kind = line.one_type()?;
                line.finish(4)?;
                let by = line.predicate(3)?;
                if kind == Type::Pred {
                    let from = [line.predicate(1)?, line.predicate(2)?];
                    return Ok(Self::SelectPredicate { to: line.predicate_target(0)?, from, by });
                }
                let from = [line.source(1)?, line.source(2)?];
                Ok(Self::Select { to: line.target(0)?, from, by })
            }
            _ => {
                line.flag("ftz");
                let [_, kind] = line.types()[..] else { return Err(line.unknown()) };
                line.finish(4)?;
                let from = [line.source(1)?, line.source(2)?, line.source(3)?];
                Ok(Self::BySign { kind, to: line.target(0)?, from })
            }
        }
    }

    fn set_predicate(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let relation = line.find(Relation::of).ok_or_else(|| line.unknown())?;
        let combine = line.any(&["and", "or", "xor"]);
        let flush = line.flag("ftz");
        let kind = line.one_type()?;
        line.finish(if combine.is_some() { 4 } else { 3 })?;
        let combine = match combine {
            None => None,
            Some("and") => Some(Combine::And(line.predicate(3)?)),
            Some("or") => Some(Combine::Or(line.predicate(3)?)),
            Some(_) => Some(Combine::Xor(line.predicate(3)?)),
        };
        if matches!(kind, Type::F16x2 | Type::Bf16x2) {
            return Err(line.unknown());
        }
        let (to, opposite): (Operand, _) = line.pair(0)?;
        let to = line.predicate_target_of(&to)?;
        let opposite = opposite.map(|o| line.predicate_target_of(&o)).transpose()?;
        let from = [line.source(1)?, line.source(2)?];
        Ok(Self::SetPredicate { relation, kind, flush, combine, to, opposite, from })
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) {
        match *self {
            Self::SetPredicate { relation, kind, flush, combine, to, opposite, from } => {
                let bits = compare(step, relation, kind, flush, from);
                let with = |bits: u32, step: &Step<'_>| match combine {
                    None => bits,
                    Some(Combine::And(p)) => bits & step.holds(p),
                    Some(Combine::Or(p)) => bits | step.holds(p),
                    Some(Combine::Xor(p)) => bits ^ step.holds(p),
                };
                let (first, second) = (with(bits, step), with(!bits, step));
                step.set_predicate(to, first);
                if let Some(to) = opposite {
                    step.set_predicate(to, second);
                }
            }
            Self::Set { relation, kind, flush, one, to, from } => {
                let bits = compare(step, relation, kind, flush, from);
                let values =
                    std::array::from_fn(|lane| if bits >> lane & 1 == 1 { one } else { 0 });
                step.set(to, &values);
            }
            Self::Select { to, from, by } => {
                let (bits, a, b) = (step.holds(by), step.get(from[0]), step.get(from[1]));
                let values =
                    std::array::from_fn(
                        |lane| {
                            if bits >> lane & 1 == 1 { a[lane] } else { b[lane] }
                        },
                    );
                step.set(to, &values);
            }
            Self::SelectPredicate { to, from, by } => {
                let (bits, a, b) = (step.holds(by), step.holds(from[0]), step.holds(from[1]));
                step.set_predicate(to, bits & a | !bits & b);
            }
            Self::BySign { kind, to, from } => step.map3(to, from, |a, b, c| {
                let first = match kind {
                    Type::F32 => single(c) >= 0.0,
                    _ => (Type::S32.extend(c) as i64) >= 0,
                };
                if first { a } else { b }
            }),
        }
    }
}

/// The lanes for which a relation holds.
fn compare(step: &Step<'_>, relation: Relation, kind: Type, ftz: bool, from: [Source; 2]) -> u32 {
    let order = |f: fn(Type, u64) -> u64| {
        step.compare(from, |a, b| relation.holds(Some(f(kind, a).cmp(&f(kind, b)))))
    };
    let float =
        |f: &dyn Fn(u64) -> f32| step.compare(from, |a, b| relation.holds(f(a).partial_cmp(&f(b))));
    match kind {
        Type::F32 if ftz => float(&|a| flush(single(a))),
        Type::F32 => float(&single),
        Type::F16 => float(&|a| Short::F16.value(a & 0xffff)),
        Type::Bf16 => float(&|a| Short::Bf16.value(a & 0xffff)),
        Type::F64 => step.compare(from, |a, b| {
            relation.holds(f64::from_bits(a).partial_cmp(&f64::from_bits(b)))
        }),
        // The order of signed numbers is that of unsigned ones with the sign turned.
        kind if kind.is_signed() => order(|kind, a| kind.extend(a) ^ 1 << 63),
        _ => order(|kind, a| kind.extend(a)),
    }
}
