//! Rows of text from files, in batches.
//!
//! - [`Corpus`]: files of rows, of which only the places are in memory.
//! - [`RowEncoder`]: a row as ids.
//! - [`Batcher`]: rows in the order of a seed, as ragged batches bounded by a count of tokens, from a position that can
//!   be saved.
//!
//! ```
//! use seq2seq_models::{Tokenizer, train::data::{BatchOptions, Batcher, Corpus, Order, RowEncoder}};
//!
//! # let folder = "../fixtures/gpt2_text";
//! let corpus = Corpus::open(&["../recipes/numbers/train.tsv"])?; // TAB between source and target
//! let rows = corpus.rows();
//! let encoder = RowEncoder::new(Tokenizer::from_folder(folder)?);
//! let options = BatchOptions { tokens: 2048, window: 4096, order: Order::Shuffled { seed: 1 } };
//! let mut batcher = Batcher::new(corpus, encoder, options)?;
//! let mut seen = 0;
//! loop {
//!     let batch = batcher.next_batch()?; // without end, one epoch after the other
//!     assert!(batch.tokens() <= 2048);
//!     seen += batch.rows.len();
//!     if batch.ends_epoch {
//!         break;
//!     }
//! }
//! assert_eq!(seen, rows);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```

mod batcher;
mod corpus;
mod encode;
mod line;
mod permutation;

pub use batcher::{Batch, BatchOptions, Batcher, Order, Position, Sequences};
pub(crate) use corpus::fnv;
pub use corpus::{Corpus, Row, RowKind};
pub(crate) use encode::least;
pub use encode::{Example, Overlong, RowEncoder, UNTAGGED};
