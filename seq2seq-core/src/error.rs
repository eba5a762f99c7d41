//! Typed errors of the operations.

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation could not be carried out. Each says what, where, and what was expected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two sizes that must agree do not.
    #[error("{op}: {what} is {found}, expected {expected}")]
    Shape {
        /// The operation, by its method name.
        op: &'static str,
        /// The operand and its dimension.
        what: &'static str,
        /// The size that the other operands call for.
        expected: usize,
        /// The size that was given.
        found: usize,
    },
    /// An index lies outside the table that it points into.
    #[error("{op}: {what} {index} at position {at} is out of range (there are {limit})")]
    OutOfRange {
        /// The operation, by its method name.
        op: &'static str,
        /// What the index names: a token id, a row, a hypothesis.
        what: &'static str,
        /// Where in the list of indices it stands.
        at: usize,
        /// The index.
        index: usize,
        /// One past the largest allowed index.
        limit: usize,
    },
    /// A cache has no room for the rows of this pass.
    #[error("{op}: sequence {sequence} needs {needed} positions, the cache holds {capacity}")]
    Capacity {
        /// The operation, by its method name.
        op: &'static str,
        /// The sequence that grew too long.
        sequence: usize,
        /// Positions it would hold.
        needed: usize,
        /// Positions the cache was made for.
        capacity: usize,
    },
    /// A value that no computation can be made with, such as a NaN weight or k = 0.
    #[error("{op}: {reason}")]
    Invalid {
        /// The operation, by its method name.
        op: &'static str,
        /// What is wrong and what to give instead.
        reason: String,
    },
    /// This backend or this machine lacks something that was asked for.
    #[error("{what} is not available: {hint}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What there is instead.
        hint: String,
    },
    /// A device has no memory left.
    #[error("out of device memory: {needed} bytes needed, {free} of {total} are free")]
    OutOfMemory {
        /// Bytes of the allocation that failed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that the device has.
        total: u64,
    },
    /// A device failed at what it was told to do.
    #[error("the device failed at {call}: {reason}")]
    Device {
        /// What it was told to do.
        call: String,
        /// What it says of it.
        reason: String,
    },
}

impl Error {
    /// [`Error::Shape`] unless `found == expected`.
    pub fn expect(
        op: &'static str,
        what: &'static str,
        expected: usize,
        found: usize,
    ) -> Result<()> {
        if expected == found { Ok(()) } else { Err(Self::Shape { op, what, expected, found }) }
    }

    /// [`Error::OutOfRange`] for the first index that is not below `limit`.
    pub fn check_range(
        op: &'static str,
        what: &'static str,
        indices: impl IntoIterator<Item = usize>,
        limit: usize,
    ) -> Result<()> {
        match indices.into_iter().enumerate().find(|&(_, index)| index >= limit) {
            None => Ok(()),
            Some((at, index)) => Err(Self::OutOfRange { op, what, at, index, limit }),
        }
    }

    /// [`Error::Invalid`].
    pub fn invalid(op: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { op, reason: reason.into() }
    }
}
