//! A model's folder as Hugging Face writes it: where its files lie, what its tensors are called, what they hold.

mod files;
mod finite;
mod loader;
mod mapping;
mod names;
mod safetensors;
mod scope;
pub(crate) mod stored;
mod tensors;

pub use files::Files;
pub use scope::Presence;
pub use tensors::Checkpoint;

pub(crate) use loader::{Loader, Taken};
pub(crate) use names::NameTable;
pub(crate) use scope::{OutputShape, Part, Scope};
