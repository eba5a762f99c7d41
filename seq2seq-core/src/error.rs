//! Typed errors of the operations.

/// The result of an operation.
///
/// ```
/// use seq2seq_core::{Backend, Error, HostTensor, Result};
///
/// /// The length of the longest row.
/// fn longest<B: Backend>(backend: &B, x: &B::Tensor) -> Result<f32> {
///     use seq2seq_core::Rows;
///     let norms = backend.download(x)?;
///     let norms = norms.chunks(x.width().max(1)).map(|row| row.iter().map(|v| v * v).sum::<f32>().sqrt());
///     norms.reduce(f32::max).ok_or_else(|| Error::invalid("longest", "there are no rows"))
/// }
///
/// let b = seq2seq_core::reference::Reference;
/// let x = b.upload(&HostTensor::from_f32(vec![2, 2], &[3.0, 4.0, 1.0, 0.0])?)?;
/// assert_eq!(longest(&b, &x)?, 5.0);
/// let none = longest(&b, &b.gather_rows(&x, &[])?);
/// assert_eq!(none.unwrap_err().to_string(), "longest: there are no rows");
/// # Ok::<(), Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation could not be carried out. Each says what, where, and what was expected.
///
/// ```
/// use seq2seq_core::{Backend, Error, HostTensor, Lookup, reference::Reference};
///
/// let b = Reference;
/// let table = b.embedding(&HostTensor::from_f32(vec![3, 2], &[0.0; 6])?)?;
/// let looked = b.embed(&[Lookup { table: &table, ids: &[0, 2, 7], scale: 1.0 }]);
/// match looked.map(drop) {
///     // Told apart by kind, where a program can do something about it ...
///     Err(Error::OutOfRange { at, index, limit, .. }) => assert_eq!((at, index, limit), (2, 7, 3)),
///     other => panic!("{other:?}"),
/// }
/// // ... and written for people otherwise.
/// let error = HostTensor::from_f32(vec![2, 2], &[1.0]).map(drop).unwrap_err();
/// assert_eq!(error.to_string(), "HostTensor: byte length is 4, expected 16");
/// # Ok::<(), Error>(())
/// ```
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
