//! A module: the functions and variables of one PTX text.

use crate::parse::{Parsed, parse};
use crate::program::{Function, Variable};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// PTX text that cannot be read.
///
/// ```
/// use seq2seq_ptx::Module;
///
/// let text = "
///     .version 8.0
///     .target sm_80
///     .address_size 64
///     .visible .entry kernel() {
///         pmevent 1;
///         ret;
///     }";
/// let Err(error) = Module::parse("kernel.ptx", text) else { panic!("events are not played") };
/// assert_eq!((&error.module[..], error.line), ("kernel.ptx", 6));
/// assert!(error.to_string().starts_with("kernel.ptx:6: ") && error.reason.contains("pmevent"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{module}:{line}: {reason}")]
pub struct ParseError {
    /// Name given to [`Module::parse`].
    pub module: String,
    /// Line of the text, from 1.
    pub line: u32,
    /// What is wrong there; an instruction that is not known is named.
    pub reason: String,
}

/// Parsed PTX, ready to run on any number of devices. Clones share it.
#[derive(Debug, Clone)]
pub struct Module(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Tells modules apart.
    id: u64,
    name: String,
    text: String,
    parsed: Parsed,
}

static MODULES: AtomicU64 = AtomicU64::new(0);

impl Module {
    /// Reads PTX text. `name` is for messages.
    ///
    /// # Errors
    /// The first line that cannot be read, with the name of an instruction that is not known.
    pub fn parse(name: &str, ptx: &str) -> Result<Self, ParseError> {
        let parsed = parse(ptx).map_err(|f| ParseError {
            module: name.to_owned(),
            line: f.line,
            reason: f.reason,
        })?;
        let id = MODULES.fetch_add(1, Ordering::Relaxed);
        Ok(Self(Arc::new(Inner { id, name: name.to_owned(), text: ptx.to_owned(), parsed })))
    }

    /// Name given to [`Module::parse`].
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Names of the kernels.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.0.parsed.functions.iter().filter(|f| f.entry).map(|f| f.name.as_str())
    }

    /// Bytes of each parameter of a kernel.
    pub fn parameters(&self, kernel: &str) -> Option<Vec<u32>> {
        let f = self.0.parsed.functions.iter().find(|f| f.entry && f.name == kernel)?;
        Some(f.parameters.iter().map(|p| p.bytes).collect())
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn functions(&self) -> &[Function] {
        &self.0.parsed.functions
    }

    pub(crate) fn variables(&self) -> &[Variable] {
        &self.0.parsed.variables
    }

    /// A source file by its number.
    pub(crate) fn file(&self, number: u32) -> Option<&str> {
        self.0.parsed.files.get(&number).map(String::as_str)
    }

    /// A line of the text, from 1.
    pub(crate) fn line(&self, number: u32) -> String {
        let line = self.0.text.lines().nth((number as usize).saturating_sub(1));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
