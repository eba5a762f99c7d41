//! Rows of text from files, in batches.
//!
//! - [`Corpus`]: files of rows, of which only the places are in memory.
//! - [`RowEncoder`]: a row as ids.
//! - [`Batcher`]: rows in the order of a seed, as ragged batches bounded by a count of tokens, from a position that can
//!   be saved.

mod batcher;
mod corpus;
mod encode;
mod line;
mod permutation;

pub use batcher::{Batch, BatchOptions, Batcher, Order, Position, Sequences};
pub(crate) use corpus::fnv;
pub use corpus::{Corpus, Row, RowKind};
pub use encode::{Example, Overlong, RowEncoder, UNTAGGED};
