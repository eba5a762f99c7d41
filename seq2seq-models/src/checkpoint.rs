//! A model's folder as Hugging Face writes it: where its files lie, what its tensors are called, what they hold.

mod adapter;
mod files;
mod finite;
mod formats;
mod loader;
pub(crate) mod mapping;
mod names;
pub(crate) mod room;
pub(crate) mod safetensors;
mod scope;
pub(crate) mod stored;
mod tensors;
pub(crate) mod writer;

pub use files::Files;
pub use formats::{ModuleFormat, layer_format};
pub use scope::Presence;
pub use tensors::Checkpoint;

pub(crate) use formats::{Formats, kinds};
pub(crate) use loader::{Loader, Matrix, Missing, Taken, TakenLinear};
pub(crate) use names::{NameTable, Rule};
pub(crate) use scope::{OutputShape, Part, Scope};
