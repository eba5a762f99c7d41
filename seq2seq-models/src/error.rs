//! What can go wrong between a folder and its results.
//!
//! Each kind has what a program needs to go on from it:
//!
//! ```
//! use seq2seq_models::{Error, LoadOptions, Model, Result};
//! use std::path::Path;
//!
//! /// Loads a model in the format that is asked for, or in one that there is or has room.
//! fn load(folder: &Path, options: &LoadOptions) -> Result<Model> {
//!     let format = match Model::load(folder, options) {
//!         // A converted folder has one format.
//!         Err(Error::StoredFormat { stored, .. }) => stored,
//!         // On a GPU; the largest that has room comes first.
//!         Err(Error::NoRoom { fits, .. }) if !fits.is_empty() => fits[0].0,
//!         other => return other,
//!     };
//!     Model::load(folder, &LoadOptions { format, ..options.clone() })
//! }
//!
//! # use seq2seq_models::{Files, Forward, convert, seq2seq_core::Format};
//! # let work = tempfile::tempdir()?;
//! # let converted = &work.path().join("int8");
//! # let int8 = LoadOptions { format: Format::Int8, ..LoadOptions::default() };
//! # convert(&Files::folder("../fixtures/bert")?, &int8, converted)?;
//! let model = load(converted, &LoadOptions::default())?; // a folder in int8, asked for in f32
//! assert_eq!(model.format(), Format::Int8);
//!
//! // What a caller did wrong, and what is wrong with files, are told apart.
//! let request = Forward { input_ids: vec![vec![2, 1_000_000, 3]], ..Forward::default() };
//! assert!(matches!(model.forward(&request), Err(Error::Input(reason)) if reason.contains("1000000")));
//! let missing = load(work.path(), &LoadOptions::default());
//! assert!(matches!(missing, Err(Error::Io { path, .. }) if path.ends_with("config.json")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::{checkpoint::room, inspect::byte_size};
use seq2seq_core::Format;
use std::path::{Path, PathBuf};

/// The result of loading, decoding or a task.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says what went wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder could not be written, such as on a full disk.
    #[error("{path}: {source}")]
    Write {
        /// The file or folder.
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
    /// A model of a kind that this library does not know.
    #[error("{path}: {what} '{found}' is not supported (there is: {known})")]
    UnknownModel {
        /// The file that says so.
        path: PathBuf,
        /// `model_type` or `architectures`.
        what: &'static str,
        /// What it says.
        found: String,
        /// What is supported.
        known: String,
    },
    /// A weight that the model needs is not in its checkpoint.
    #[error("{path}: no tensor '{tensor}' (looked for {tried})")]
    TensorMissing {
        /// The checkpoint.
        path: PathBuf,
        /// The name that transformers writes.
        tensor: String,
        /// Every name under which it would have been found.
        tried: String,
    },
    /// A weight has another shape than the configuration calls for.
    #[error("{path}: tensor '{tensor}' has shape {found:?}, config.json calls for {expected:?}")]
    TensorShape {
        /// The checkpoint file that holds it.
        path: PathBuf,
        /// Its name there.
        tensor: String,
        /// The shape that the model needs.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A weight has an element type that cannot be computed with.
    #[error("{path}: tensor '{tensor}' holds {found}; weights must be F32, F16 or BF16")]
    TensorType {
        /// The checkpoint file that holds it.
        path: PathBuf,
        /// Its name there.
        tensor: String,
        /// The element type in the file.
        found: String,
    },
    /// A weight is NaN or infinite.
    #[error("{path}: tensor '{tensor}' holds {value} at element {at}; the checkpoint is damaged")]
    TensorValue {
        /// The checkpoint file that holds it.
        path: PathBuf,
        /// Its name there.
        tensor: String,
        /// The position of the first such element, row-major.
        at: usize,
        /// NaN, inf or -inf.
        value: f32,
    },
    /// A weight is too large for the format that it is to be held in.
    #[error(
        "{path}: tensor '{tensor}' holds {value:e} at element {at}, which is too large for {format}; take {} instead",
        wider(*format)
    )]
    TensorRange {
        /// The checkpoint file that holds it.
        path: PathBuf,
        /// Its name there.
        tensor: String,
        /// The position of the first such element, row-major.
        at: usize,
        /// The element, a number.
        value: f32,
        /// The format.
        format: Format,
    },
    /// Weights are stored in a format from which another one is to be made.
    #[error(
        "{path}: the weights are stored in {stored}, from which {asked} cannot be had; load it in {stored}, \
         or load the model that it was converted from"
    )]
    StoredFormat {
        /// The folder.
        path: PathBuf,
        /// The format of its weights.
        stored: Format,
        /// The format that was asked for.
        asked: Format,
    },
    /// The weights of a model have no room on the device.
    #[error(
        "out of device memory: the weights take {} in {format}, and {} of the device's {} are free; {}",
        byte_size(*needed), byte_size(*free), byte_size(*total), room::advice(fits)
    )]
    NoRoom {
        /// The format that the model was to be loaded in.
        format: Format,
        /// Bytes of its weights.
        needed: u64,
        /// Bytes of the device that were free before.
        free: u64,
        /// Bytes that the device has.
        total: u64,
        /// The formats that have room, with what the weights take in them, the largest first.
        fits: Vec<(Format, u64)>,
    },
    /// A model could not be had from the hub.
    #[error("model {id}: {reason}")]
    Hub {
        /// The model.
        id: String,
        /// What the hub or the network said.
        reason: String,
    },
    /// The input of a request cannot be used.
    #[error("{0}")]
    Input(String),
    /// An operation failed.
    #[error(transparent)]
    Op(#[from] seq2seq_core::Error),
}

/// The formats that hold numbers beyond `format`, as words of a sentence.
fn wider(format: Format) -> &'static str {
    match format {
        Format::F16 => "bf16 or f32",
        _ => "f32",
    }
}

impl Error {
    /// [`Error::Io`].
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// [`Error::Write`].
    pub fn write(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Write { path: path.into(), source }
    }

    /// [`Error::File`].
    pub fn file(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().into(), reason: reason.into() }
    }

    /// [`Error::Input`].
    pub fn input(reason: impl Into<String>) -> Self {
        Self::Input(reason.into())
    }
}
