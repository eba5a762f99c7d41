//! What can go wrong between a folder and its results.

use std::path::PathBuf;

/// The result of loading, decoding or a task.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says what went wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read but does not hold what it must.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, where in it, and what was expected.
        reason: String,
    },
    /// The input of a request cannot be used.
    #[error("{0}")]
    Input(String),
    /// An operation failed.
    #[error(transparent)]
    Op(#[from] seq2seq_core::Error),
}
