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
//!
//! Rows of each kind as ids, and a place to go on from:
//!
//! ```
//! use seq2seq_models::{
//!     Tokenizer,
//!     train::data::{
//!         Batch, BatchOptions, Batcher, Corpus, Example, Order, Overlong, Position, Row, RowEncoder, RowKind, Sequences,
//!     },
//! };
//!
//! # let (folder, work) = ("../fixtures/bert_token_classification", tempfile::tempdir()?);
//! # let file = work.path().join("rows.jsonl");
//! std::fs::write(&file, r#"{"tokens": ["Anna", "sat", "in", "Paris"], "tags": ["PER", "O", "O", "LOC"]}
//! {"tokens": ["the", "cats", "ran"], "tags": ["O", "O", "O"]}
//! "#)?;
//! let mut corpus = Corpus::open(&[&file])?;
//! assert_eq!((corpus.rows(), corpus.kind()), (2, RowKind::Tagged));
//! let Row::Tagged { tokens, tags } = corpus.row(1)? else { return Err("another kind".into()) };
//! assert_eq!((tokens.len(), tags.len()), (3, 3));
//!
//! let mut encoder = RowEncoder::new(Tokenizer::from_folder(folder)?);
//! encoder.classes = Some([("O".into(), 0), ("PER".into(), 1), ("LOC".into(), 2)].into());
//! encoder.max_source = Some(6);
//! encoder.overlong = Overlong::Refuse; // longer rows are errors with their file and line
//! let Example { source, target, .. } = encoder.encode(&corpus.row(0)?)?;
//! assert_eq!((source.len(), &target[1..5]), (6, &[1, 0, 0, 2][..])); // between [CLS] and [SEP]
//!
//! let options = BatchOptions { tokens: 12, window: 4096, order: Order::Shuffled { seed: 1 } };
//! let mut batcher = Batcher::new(corpus, encoder, options)?;
//! batcher.next_batch()?;
//! let position: Position = batcher.position(); // to be saved, as JSON or otherwise
//! let Batch { source, target, rows, .. } = batcher.next_batch()?;
//! let Sequences { ids, ragged } = &source;
//! for (row, range) in rows.iter().zip(ragged.ranges()) {
//!     println!("row {row}: {:?} is {:?}", &ids[range.clone()], &target.ids[range]);
//! }
//! batcher.next_batch()?;
//! batcher.resume(serde_json::from_str(&serde_json::to_string(&position)?)?)?;
//! assert_eq!(batcher.next_batch()?.source, source);
//! # Ok::<(), Box<dyn std::error::Error>>(())
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
