//! From PTX text to the form that runs.

mod directives;
mod draft;
mod function;
mod lexer;
mod line;
mod names;
mod operands;
mod special;
mod types;

pub(crate) use line::{Line, Read};
pub(crate) use names::Name;
pub(crate) use operands::Operand;
pub(crate) use special::{LaneMask, Special};
pub(crate) use types::Type;

use crate::program::{Function, Variable};
use std::collections::HashMap;

/// What is wrong, and in which line.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) line: u32,
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn new(line: u32, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// All that a text holds.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) functions: Vec<Function>,
    pub(crate) variables: Vec<Variable>,
    /// Names of the source files by number.
    pub(crate) files: HashMap<u32, String>,
}

/// Reads a whole text.
pub(crate) fn parse(text: &str) -> Result<Parsed, Failure> {
    directives::module(lexer::Tokens::new(text)?)
}
