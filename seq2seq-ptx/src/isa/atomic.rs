//! Atomic operations.

use super::memory::{space, strength};
use super::numbers::{Short, single, single_bits};
use crate::machine::memory::Way;
use crate::machine::{Step, Stepped, WARP, lanes};
use crate::parse::{Line, Read, Type};
use crate::program::{Address, Source, Target};
use crate::shadow::release::Strong;

/// What is done to the old value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    /// Increments, from the bound back to zero.
    Increment,
    /// Decrements, from zero to the bound.
    Decrement,
    Compare,
}

/// An atomic operation.
#[derive(Debug, Clone)]
pub(crate) struct Atomic {
    change: Change,
    kind: Type,
    way: Way,
    at: Address,
    /// Where each part of the old value goes; none for `red`.
    to: Vec<Target>,
    /// Operands of each part; a comparison has two.
    from: Vec<[Source; 2]>,
}

impl Atomic {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        line.cache_hints();
        line.flag("noftz");
        let names = ["add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"];
        let change = match line.any(&names) {
            Some("add") => Change::Add,
            Some("min") => Change::Min,
            Some("max") => Change::Max,
            Some("and") => Change::And,
            Some("or") => Change::Or,
            Some("xor") => Change::Xor,
            Some("exch") => Change::Exchange,
            Some("inc") => Change::Increment,
            Some("dec") => Change::Decrement,
            Some(_) => Change::Compare,
            None => return Err(line.unknown()),
        };
        // Without a scope an atomic operation has that of the device; without an order it is relaxed.
        let scoped = line.opcode.split('.').any(|m| matches!(m, "cta" | "cluster"));
        let order = strength(line, true, true);
        let strong = Strong {
            reads: true,
            writes: true,
            acquire: order.is_some_and(|o| o.acquire),
            release: order.is_some_and(|o| o.release),
            device: !scoped,
        };
        let space = space(line);
        let count = match line.any(&["v2", "v4"]) {
            Some("v2") => 2,
            Some(_) => 4,
            None => 1,
        };
        let kind = line.one_type()?;
        let (returns, compares) = (line.name == "atom", change == Change::Compare);
        let first = usize::from(returns);
        line.finish(2 + first + usize::from(compares))?;
        let at = line.address(first)?;
        let to = match returns {
            true => line.parts(0)?.iter().map(|p| line.target_of(p)).collect::<Read<Vec<_>>>()?,
            false => Vec::new(),
        };
        let operands = line.parts(first + 1)?;
        if operands.len() != count || (returns && to.len() != count) {
            return Err(line.unknown());
        }
        let second = if compares { Some(line.source(first + 2)?) } else { None };
        let mut from = Vec::new();
        for operand in &operands {
            let source = line.source_of(operand)?;
            from.push([source, second.unwrap_or(source)]);
        }
        let way = Way { space, bytes: kind.bytes() as usize, strong: Some(strong) };
        Ok(Self { change, kind, way, at, to, from })
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<()> {
        let addresses = step.addresses(&self.at);
        for (place, [a, b]) in self.from.iter().enumerate() {
            let (a, b) = (step.get(*a), step.get(*b));
            let mut old = [0; WARP];
            for lane in lanes(step.mask) {
                let at = addresses[lane].wrapping_add((place * self.way.bytes) as u64);
                let change = |old: u128| self.changed(old as u64, a[lane], b[lane]).into();
                old[lane] = step.update(lane, at, self.way, change)? as u64;
            }
            if let Some(to) = self.to.get(place) {
                step.set(*to, &old);
            }
            let lane = step.mask.trailing_zeros() as usize;
            step.polls(addresses[lane], old[lane]);
        }
        Ok(())
    }

    fn changed(&self, old: u64, a: u64, b: u64) -> u64 {
        let kind = self.kind;
        let (whole, operand) = (kind.extend(old), kind.extend(a));
        let new = match self.change {
            Change::Add if kind.is_float() => add(kind, old, a),
            Change::Add => whole.wrapping_add(operand),
            Change::Min | Change::Max => {
                let less = if kind.is_signed() {
                    (operand as i64) < whole as i64
                } else {
                    operand < whole
                };
                if less == (self.change == Change::Min) { operand } else { whole }
            }
            Change::And => old & a,
            Change::Or => old | a,
            Change::Xor => old ^ a,
            Change::Exchange => a,
            Change::Increment => {
                if whole >= operand {
                    0
                } else {
                    whole + 1
                }
            }
            Change::Decrement => {
                if whole == 0 || whole > operand {
                    operand
                } else {
                    whole - 1
                }
            }
            Change::Compare => {
                if whole == operand {
                    b
                } else {
                    old
                }
            }
        };
        new & kind.mask()
    }
}

/// A sum of floats; of pairs, of each half.
fn add(kind: Type, old: u64, a: u64) -> u64 {
    let short = |s: Short, x: u64, y: u64| s.fused(s.value(x & 0xffff), 1.0, s.value(y & 0xffff));
    let pair = |s: Short| short(s, old, a) | short(s, old >> 16, a >> 16) << 16;
    match kind {
        Type::F64 => (f64::from_bits(old) + f64::from_bits(a)).to_bits(),
        Type::F16 => short(Short::F16, old, a),
        Type::Bf16 => short(Short::Bf16, old, a),
        Type::F16x2 => pair(Short::F16),
        Type::Bf16x2 => pair(Short::Bf16),
        _ => single_bits(single(old) + single(a)),
    }
}
