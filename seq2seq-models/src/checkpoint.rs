//! A model's folder as Hugging Face writes it: where its files lie, what its tensors are called, what they hold.

mod files;
mod finite;
mod loader;
mod mapping;
mod names;
mod safetensors;
mod tensors;

pub use files::Files;
pub use tensors::Checkpoint;

pub use loader::Presence;

pub(crate) use loader::{Loader, OutputShape, Part, Scope, Taken};
pub(crate) use names::NameTable;
