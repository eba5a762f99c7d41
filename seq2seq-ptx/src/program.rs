//! Parsed functions, in the compact form that runs.

use crate::isa::Op;

/// Where a value comes from: a register of the function, or one of its constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source(u32);

impl Source {
    const CONSTANT: u32 = 1 << 31;

    pub(crate) fn register(index: u32) -> Self {
        Self(index)
    }

    pub(crate) fn constant(index: usize) -> Self {
        Self(index as u32 | Self::CONSTANT)
    }

    /// Index of the register, or, as an error, of the constant.
    pub(crate) fn index(self) -> Result<usize, usize> {
        if self.0 < Self::CONSTANT {
            Ok(self.0 as usize)
        } else {
            Err((self.0 - Self::CONSTANT) as usize)
        }
    }
}

/// Register that a value goes to. Register 0 takes what `_` throws away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target(pub(crate) u32);

/// Predicate that is read. Predicate 0 takes what `_` throws away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Predicate {
    pub(crate) index: u32,
    pub(crate) negated: bool,
}

/// A constant of a function; the same for all lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    /// A number.
    Bits(u64),
    /// Address of a module's variable in device memory, and a distance.
    Global { index: u32, offset: i64 },
    /// Start of the dynamic shared memory, and a distance.
    Dynamic(i64),
}

/// An address operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) base: Source,
    pub(crate) offset: i64,
    /// Whether it counts from the frame of the function.
    pub(crate) frame: bool,
}

/// One instruction.
#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    /// Only lanes with this predicate run it.
    pub(crate) guard: Option<Predicate>,
    pub(crate) op: Op,
    /// Line of the PTX text.
    pub(crate) line: u32,
    /// File and line of the source, from `.loc`; file 0 where it is not known.
    pub(crate) source: (u32, u32),
}

/// Bytes of a parameter and where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// A kernel or a device function.
#[derive(Debug, Clone, Default)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// A kernel.
    pub(crate) entry: bool,
    /// False for a declaration.
    pub(crate) defined: bool,
    pub(crate) code: Vec<Instruction>,
    pub(crate) registers: u32,
    pub(crate) predicates: u32,
    /// Bytes of local memory, parameters of device functions and calls included.
    pub(crate) frame: u32,
    pub(crate) constants: Vec<Constant>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) returns: Vec<Parameter>,
    /// Bytes of shared memory without the dynamic part.
    pub(crate) shared: u32,
    /// Whether it uses units that read shared memory through the asynchronous proxy.
    pub(crate) proxied: bool,
    /// Alignment of the dynamic part.
    pub(crate) dynamic_align: u32,
    /// Threads of a block that the kernel was compiled for, `.maxntid` and `.reqntid`.
    pub(crate) max_threads: Option<u32>,
    pub(crate) required_block: Option<[u32; 3]>,
}

impl Function {
    /// Start of the dynamic shared memory.
    pub(crate) fn dynamic_start(&self) -> u32 {
        self.shared.next_multiple_of(self.dynamic_align.max(1))
    }
}

/// A variable of a module in device memory.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) initial: Vec<u8>,
    /// A `.const` variable.
    pub(crate) constant: bool,
}
