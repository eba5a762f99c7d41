//! Models as descriptions, checkpoints, decoding and tasks, over any backend.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod error;
pub mod generate;
pub mod model;
pub mod tokenizer;

pub use error::{Error, Result};
pub use model::{Forward, ForwardOutput, Generated, Prompt};
pub use tokenizer::{Encoding, TextStream, Tokenizer};
