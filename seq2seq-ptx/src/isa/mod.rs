//! Instructions: how each is read, and what it does. A file for each group.

pub(crate) mod async_copy;
mod atomic;
mod bits;
mod compare;
pub(crate) mod control;
mod convert;
mod exchange;
mod float;
mod half;
mod integer;
mod matrix;
pub(crate) mod mbarrier;
mod memory;
mod moves;
mod numbers;
mod synchronise;
pub(crate) mod wgmma;

use crate::machine::{Flow, Step, Stepped};
use crate::parse::{Line, Read, Type};
use crate::program::Source;

/// An instruction.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Integer(integer::Integer),
    Bits(bits::Bits),
    Float(float::Float),
    Half(half::Half),
    Compare(compare::Compare),
    Convert(convert::Convert),
    Move(moves::Move),
    Memory(memory::Memory),
    Atomic(atomic::Atomic),
    Exchange(exchange::Exchange),
    Synchronise(synchronise::Synchronise),
    Control(control::Control),
    AsyncCopy(async_copy::AsyncCopy),
    Matrix(matrix::Matrix),
    MBarrier(mbarrier::MBarrier),
    Wgmma(wgmma::Wgmma),
}

/// Which lanes must execute an instruction together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Together {
    No,
    /// All lanes of the warp.
    Warp,
    /// All 32 lanes.
    Full,
    /// The lanes of a mask that each lane gives.
    Named(Source),
}

impl Op {
    /// Reads an instruction.
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let marked = |kinds: &[Type], test: fn(Type) -> bool| kinds.iter().any(|k| test(*k));
        let kinds: Vec<Type> = line.opcode.split('.').filter_map(Type::of).collect();
        Ok(match line.name {
            "add" | "sub" | "mul" | "neg" | "abs" | "min" | "max" | "fma" | "mad" | "div"
            | "tanh" | "ex2"
                if marked(&kinds, Type::is_half) =>
            {
                Self::Half(half::Half::parse(line)?)
            }
            "add" | "sub" | "mul" | "neg" | "abs" | "min" | "max" | "fma" | "mad" | "div"
                if marked(&kinds, Type::is_float) =>
            {
                Self::Float(float::Float::parse(line)?)
            }
            "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" | "copysign"
            | "testp" => Self::Float(float::Float::parse(line)?),
            "add" | "sub" | "mul" | "neg" | "abs" | "min" | "max" | "mad" | "div" | "rem"
            | "dp4a" | "dp2a" | "sad" | "mul24" | "mad24" => {
                Self::Integer(integer::Integer::parse(line)?)
            }
            "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "shf" | "prmt" | "bfe"
            | "bfi" | "popc" | "clz" | "brev" | "bfind" | "lop3" | "bmsk" | "szext" => {
                Self::Bits(bits::Bits::parse(line)?)
            }
            "setp" | "set" | "selp" | "slct" => Self::Compare(compare::Compare::parse(line)?),
            "cvt" => Self::Convert(convert::Convert::parse(line)?),
            "mov" | "cvta" | "isspacep" => Self::Move(moves::Move::parse(line)?),
            "ld" | "ldu" | "st" | "prefetch" | "prefetchu" | "applypriority" | "discard" => {
                Self::Memory(memory::Memory::parse(line)?)
            }
            "atom" | "red" => Self::Atomic(atomic::Atomic::parse(line)?),
            "shfl" | "vote" | "match" | "activemask" | "redux" | "elect" => {
                Self::Exchange(exchange::Exchange::parse(line)?)
            }
            "bar" | "barrier" | "membar" | "fence" | "griddepcontrol" | "setmaxnreg" => {
                Self::Synchronise(synchronise::Synchronise::parse(line)?)
            }
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "nanosleep" | "brkpt" => {
                Self::Control(control::Control::parse(line)?)
            }
            "cp" => Self::AsyncCopy(async_copy::AsyncCopy::parse(line)?),
            "ldmatrix" | "stmatrix" | "mma" | "movmatrix" => {
                Self::Matrix(matrix::Matrix::parse(line)?)
            }
            "mbarrier" => Self::MBarrier(mbarrier::MBarrier::parse(line)?),
            "wgmma" => Self::Wgmma(wgmma::Wgmma::parse(line)?),
            _ => return Err(line.unknown()),
        })
    }

    /// Which lanes must execute it together.
    pub(crate) fn together(&self) -> Together {
        match self {
            Self::Exchange(op) => op.together(),
            Self::Synchronise(op) => op.together(),
            Self::Matrix(_) | Self::Wgmma(_) => Together::Full,
            _ => Together::No,
        }
    }

    /// Whether lanes may go to different places after it.
    pub(crate) fn moves(&self) -> bool {
        matches!(self, Self::Control(_) | Self::Synchronise(_))
    }

    /// Runs it.
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<Flow> {
        match self {
            Self::Integer(op) => op.run(step),
            Self::Bits(op) => op.run(step),
            Self::Float(op) => op.run(step),
            Self::Half(op) => op.run(step),
            Self::Compare(op) => op.run(step),
            Self::Convert(op) => op.run(step)?,
            Self::Move(op) => op.run(step),
            Self::Memory(op) => op.run(step)?,
            Self::Atomic(op) => op.run(step)?,
            Self::Exchange(op) => op.run(step)?,
            Self::Synchronise(op) => return op.run(step),
            Self::Control(op) => return op.run(step),
            Self::AsyncCopy(op) => op.run(step)?,
            Self::Matrix(op) => op.run(step)?,
            Self::MBarrier(op) => op.run(step)?,
            Self::Wgmma(op) => op.run(step)?,
        }
        Ok(Flow::Next)
    }
}
