//! One instruction while it is read: its modifiers, taken by name, and its operands, taken by place.

use super::draft::Draft;
use super::operands::Operand;
use super::{Failure, Type};
use crate::program::{Address, Constant, Predicate, Source, Target};

/// One instruction while it is read.
pub(crate) struct Line<'a, 'd, 'o> {
    pub(crate) number: u32,
    /// The opcode as written.
    pub(crate) opcode: &'a str,
    /// Its first part.
    pub(crate) name: &'a str,
    marks: Vec<&'a str>,
    pub(crate) operands: Vec<Operand>,
    pub(crate) draft: &'d mut Draft<'o>,
}

/// The result of reading a part of an instruction.
pub(crate) type Read<T> = Result<T, Failure>;

impl<'a, 'd, 'o> Line<'a, 'd, 'o> {
    pub(crate) fn new(
        number: u32,
        opcode: &'a str,
        operands: Vec<Operand>,
        draft: &'d mut Draft<'o>,
    ) -> Self {
        let mut marks = opcode.split('.');
        let name = marks.next().unwrap_or_default();
        Self { number, opcode, name, marks: marks.collect(), operands, draft }
    }

    /// An error about this instruction.
    pub(crate) fn failure(&self, reason: &str) -> Failure {
        Failure::new(self.number, format!("instruction {}: {reason}", self.opcode))
    }

    /// The error of an instruction that is not known.
    pub(crate) fn unknown(&self) -> Failure {
        Failure::new(self.number, format!("instruction {} is not known", self.opcode))
    }

    /// Takes a modifier if it is there.
    pub(crate) fn flag(&mut self, mark: &str) -> bool {
        match self.marks.iter().position(|m| *m == mark) {
            Some(at) => {
                self.marks.remove(at);
                true
            }
            None => false,
        }
    }

    /// Takes the first modifier that one of these names.
    pub(crate) fn any<'n>(&mut self, names: &[&'n str]) -> Option<&'n str> {
        let (at, name) = self
            .marks
            .iter()
            .enumerate()
            .find_map(|(at, m)| names.iter().find(|n| *n == m).map(|n| (at, *n)))?;
        self.marks.remove(at);
        Some(name)
    }

    /// Takes the first modifier for which `read` gives something.
    pub(crate) fn find<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, found) =
            self.marks.iter().enumerate().find_map(|(at, m)| read(m).map(|t| (at, t)))?;
        self.marks.remove(at);
        Some(found)
    }

    /// Takes all types, in order.
    pub(crate) fn types(&mut self) -> Vec<Type> {
        std::iter::from_fn(|| self.find(Type::of)).collect()
    }

    /// Takes the only type.
    pub(crate) fn one_type(&mut self) -> Read<Type> {
        match self.types()[..] {
            [only] => Ok(only),
            _ => Err(self.unknown()),
        }
    }

    /// Takes modifiers that only advise caches.
    pub(crate) fn cache_hints(&mut self) {
        while self
            .find(|m| {
                let hint = matches!(m, "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt" | "nc")
                    || m.starts_with("L1::")
                    || m.starts_with("L2::");
                (hint && m != "L2::cache_hint").then_some(())
            })
            .is_some()
        {}
    }

    /// Checks that every modifier was taken and that there are so many operands.
    pub(crate) fn finish(&self, operands: usize) -> Read<()> {
        if !self.marks.is_empty() {
            return Err(self.unknown());
        }
        if self.operands.len() != operands {
            let reason = format!("{} operands, expected {operands}", self.operands.len());
            return Err(self.failure(&reason));
        }
        Ok(())
    }

    fn operand(&self, place: usize) -> Read<Operand> {
        self.operands
            .get(place)
            .cloned()
            .ok_or_else(|| self.failure(&format!("operand {place} is missing")))
    }

    /// A constant of the function.
    pub(crate) fn number(&mut self, value: u64) -> Source {
        self.draft.constant(Constant::Bits(value))
    }

    /// A value that is read.
    pub(crate) fn source(&mut self, place: usize) -> Read<Source> {
        let operand = self.operand(place)?;
        self.source_of(&operand)
    }

    /// The value of an operand.
    pub(crate) fn source_of(&mut self, operand: &Operand) -> Read<Source> {
        match operand {
            Operand::Register(index) => Ok(Source::register(*index)),
            Operand::Number(value) => Ok(self.number(*value)),
            Operand::Variable { name, offset } => {
                match self.draft.variable(*name, *offset).map_err(|e| self.failure(&e))? {
                    (constant, false) => Ok(self.draft.constant(constant)),
                    (_, true) => Err(self.failure("the address of a local variable needs mov")),
                }
            }
            other => Err(self.failure(&format!("{other:?} is not a value"))),
        }
    }

    /// A register that is written.
    pub(crate) fn target(&self, place: usize) -> Read<Target> {
        self.target_of(&self.operand(place)?)
    }

    /// The register of an operand.
    pub(crate) fn target_of(&self, operand: &Operand) -> Read<Target> {
        match operand {
            Operand::Register(index) => Ok(Target(*index)),
            Operand::Sink => Ok(Target(0)),
            other => Err(self.failure(&format!("{other:?} is not a register"))),
        }
    }

    /// A predicate that is read.
    pub(crate) fn predicate(&self, place: usize) -> Read<Predicate> {
        match self.operand(place)? {
            Operand::Predicate { index, negated } => Ok(Predicate { index, negated }),
            other => Err(self.failure(&format!("{other:?} is not a predicate"))),
        }
    }

    /// A predicate that is written.
    pub(crate) fn predicate_target(&self, place: usize) -> Read<u32> {
        self.predicate_target_of(&self.operand(place)?)
    }

    pub(crate) fn predicate_target_of(&self, operand: &Operand) -> Read<u32> {
        match operand {
            Operand::Predicate { index, negated: false } => Ok(*index),
            Operand::Sink => Ok(0),
            other => Err(self.failure(&format!("{other:?} is not a predicate to write"))),
        }
    }

    /// Both sides of `a|b`, or one operand and none.
    pub(crate) fn pair(&self, place: usize) -> Read<(Operand, Option<Operand>)> {
        Ok(match self.operand(place)? {
            Operand::Pair(a, b) => (*a, Some(*b)),
            other => (other, None),
        })
    }

    /// The parts of a vector, or the single operand.
    pub(crate) fn parts(&self, place: usize) -> Read<Vec<Operand>> {
        Ok(match self.operand(place)? {
            Operand::Vector(parts) => parts,
            other => vec![other],
        })
    }

    /// An address in brackets.
    pub(crate) fn address(&mut self, place: usize) -> Read<Address> {
        let Operand::Memory { base, offset } = self.operand(place)? else {
            return Err(self.failure("expected an address in brackets"));
        };
        match *base {
            Operand::Variable { name, offset: inner } => {
                let (constant, frame) = self
                    .draft
                    .variable(name, inner.wrapping_add(offset))
                    .map_err(|e| self.failure(&e))?;
                Ok(Address { base: self.draft.constant(constant), offset: 0, frame })
            }
            base => Ok(Address { base: self.source_of(&base)?, offset, frame: false }),
        }
    }

    /// A number known when the text is read.
    pub(crate) fn immediate(&self, place: usize) -> Read<u64> {
        match self.operand(place)? {
            Operand::Number(value) => Ok(value),
            other => Err(self.failure(&format!("{other:?} is not a number"))),
        }
    }
}
