//! Models as descriptions, checkpoints, decoding and tasks, over any backend.
#![deny(unsafe_op_in_unsafe_fn)]

mod blocks;
pub mod checkpoint;
pub mod device;
pub mod error;
pub mod families;
pub mod generate;
#[cfg(feature = "hub")]
pub mod hub;
pub mod inspect;
pub mod model;
pub mod plan;
pub mod request;
mod stacks;
pub mod tasks;
pub mod tokenizer;

pub use checkpoint::Files;
pub use device::{Device, LoadOptions};
pub use error::{Error, Result};
pub use families::Family;
pub use model::Model;
pub use request::{Forward, ForwardOutput, Generated, Prompt};
pub use tokenizer::{Encoding, TextStream, Tokenizer};
