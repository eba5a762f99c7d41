//! A GPU played on the CPU, for tests: parses the PTX text that nvcc emits and runs it, watching every access.

#![forbid(unsafe_code)]

mod device;
mod fault;
mod isa;
mod launch;
mod machine;
mod module;
mod parse;
mod program;
mod shadow;

pub use device::Device;
pub use fault::{Access, Fault, FaultKind, Party, Result, Site, Space};
pub use launch::{Arg, Launch};
pub use module::{Module, ParseError};
