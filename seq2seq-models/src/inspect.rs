//! What a folder holds, without computing anything.
//!
//! ```
//! use seq2seq_models::{Error, Files, LoadOptions, inspect::{Inspection, byte_size, inspect}, seq2seq_core::Format};
//! use std::borrow::Cow;
//!
//! /// What would keep a model from loading, or how large it is in each format.
//! fn report(found: &Inspection) -> String {
//!     if let Some(problem) = found.problems.first() {
//!         return format!("{} problems, the first of them: {problem}", found.problems.len());
//!     }
//!     let size = |format: &Format| format!("{} in {format}", byte_size(found.bytes(*format) as u64));
//!     [Format::F32, Format::Bf16, Format::Int8].iter().map(size).collect::<Vec<_>>().join(", ")
//! }
//!
//! # let folder = "../fixtures/t5_v1_0";
//! let files = Files::folder(folder)?;
//! let found = inspect(&LoadOptions::default().open(files.clone())?)?;
//! assert!(report(&found).starts_with(&byte_size(found.bytes(Format::F32) as u64)));
//!
//! // The same weights under a configuration that asks for another layer.
//! let mut config: serde_json::Value = files.json("config.json")?.unwrap_or_default();
//! config["num_layers"] = 3.into();
//! let weights = files.read("model.safetensors")?.unwrap_or_default();
//! let other = [("config.json", config.to_string().into_bytes()), ("model.safetensors", weights)];
//! let other = Files::embedded("other", other.map(|(name, bytes)| (name, Cow::Owned(bytes))));
//! let found = inspect(&LoadOptions::default().open(other)?)?;
//! println!("{}", report(&found));
//! assert!(found.problems.iter().all(|problem| matches!(problem, Error::TensorMissing { .. })));
//! assert!(!found.problems.is_empty());
//! # Ok::<(), Error>(())
//! ```

pub(crate) mod blank;

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, Formats, Loader, ModuleFormat, Taken},
    families,
    generate::ConfigLayers,
    plan::ModelPlan,
    stacks,
};
use blank::Blank;
use seq2seq_core::Format;

/// A model on paper: its plan, its size, and everything that would keep it from loading.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The model as a description.
    pub plan: ModelPlan,
    /// The decoding settings of its files.
    pub decoding: ConfigLayers,
    /// What is wrong with the weights: missing tensors, other shapes, numbers that are none. Empty where it loads.
    pub problems: Vec<Error>,
    /// Tensors of the checkpoint that the model has no use for.
    pub unused: Vec<String>,
    /// The format in which the weights are stored, of a converted folder.
    pub stored: Option<Format>,
    /// Layers of a converted folder that are stored in another format.
    pub stored_exceptions: Vec<ModuleFormat>,
    taken: Taken,
}

/// Bytes in the unit that suits them: 1.2 kB, 1.6 MB, 2.35 GB.
pub fn byte_size(bytes: u64) -> String {
    let n = bytes as f64;
    match bytes {
        0..1_000_000 => format!("{:.1} kB", n / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n / 1e6),
        _ => format!("{:.2} GB", n / 1e9),
    }
}

impl Inspection {
    /// Elements of all weights, shared ones once.
    pub fn parameters(&self) -> usize {
        self.taken.parameters
    }

    /// Bytes of the weights in memory when the model is loaded in `format`.
    pub fn bytes(&self, format: Format) -> usize {
        match self.stored == Some(format) {
            true => self.taken.loaded_bytes(),
            false => self.taken.bytes(format),
        }
    }
}

/// Looks a model over. Reads every weight once and keeps none.
///
/// ```
/// use seq2seq_models::{Files, LoadOptions, inspect::inspect, seq2seq_core::Format};
///
/// # let folder = "../fixtures/t5_v1_0";
/// let checkpoint = LoadOptions::default().open(Files::folder(folder)?)?;
/// let found = inspect(&checkpoint)?;
/// println!("{} parameters, {} bytes in int8", found.parameters(), found.bytes(Format::Int8));
/// assert!(found.problems.is_empty());
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
///
/// # Errors
/// Only what leaves nothing to look over: damaged files and models of unknown kinds. What is wrong with
/// single tensors is in [`Inspection::problems`].
pub fn inspect(checkpoint: &Checkpoint) -> Result<Inspection> {
    let plan = families::plan(checkpoint)?;
    let (stored, formats) = (checkpoint.stored(), Formats::default());
    let loader = Loader::new(&Blank, checkpoint, plan.family.names(), &formats).collecting();
    stacks::load(&plan, &loader)?;
    let unused = loader.unused();
    let (taken, problems) = loader.finish();
    let stored_exceptions = checkpoint.stored_exceptions().to_vec();
    let decoding = ConfigLayers::from_files(checkpoint.files())?;
    Ok(Inspection { decoding, plan, problems, unused, stored, stored_exceptions, taken })
}
