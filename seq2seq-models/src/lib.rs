//! Models as descriptions, checkpoints, decoding and tasks, over any backend.
//!
//! ```no_run
//! use seq2seq_models::{LoadOptions, Model, Prompt, generate::GenerationConfig};
//!
//! let model = Model::load("flan-t5-small", &LoadOptions::default())?;
//! let prompt = Prompt { input_ids: vec![13959, 1566, 12, 2968, 10, 1], decoder_input_ids: None };
//! let config = GenerationConfig { num_beams: Some(4), ..GenerationConfig::default() };
//! let rows = model.generate(&[prompt], &config, &mut ())?;
//! println!("{:?} {}", rows[0][0].ids, rows[0][0].score);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | a loaded model behind one handle |
//! | [`request`] | what it is asked, and what it answers |
//! | [`plan`] | a model as plain data |
//! | [`families`] | from a configuration to a plan and the names of tensors |
//! | [`checkpoint`] | folders, safetensors, tensors by our names |
//! | `blocks`, `stacks` | the one implementation of every plan, over any backend |
//! | [`generate`] | decoding as Hugging Face `generate()` does it |
//! | [`tokenizer`], [`tasks`] | text in, text and labels out |
//! | [`mod@inspect`] | a folder on paper |
//! | [`compare`] | how far each format is from f32 |
//! | [`trace`] | what each stage of a model computed, and whom its tokens attended to |
//! | [`mod@convert`] | folders whose weights are in a format already |
//! | [`train`] | a loaded model under training; data, tokenizers, corruptions, schedules, metrics |
//! | `hub` | models by their id on the Hugging Face hub (feature `hub`) |
//! | [`device`] | the choice of a backend; the only file that names one |
//!
//! "PARITY trap n" in comments names an entry of `docs/parity.md`: where implementations silently depart from the
//! transformers library.
#![deny(unsafe_op_in_unsafe_fn)]

mod blocks;
pub mod checkpoint;
pub mod compare;
pub mod convert;
pub mod device;
pub mod error;
pub mod families;
pub mod generate;
#[cfg(feature = "hub")]
pub mod hub;
pub mod inspect;
pub mod model;
mod new_file;
mod new_folder;
mod pattern;
pub mod plan;
pub mod request;
mod stacks;
pub mod tasks;
pub mod tokenizer;
pub mod trace;
pub mod train;

pub use checkpoint::{Files, ModuleFormat};
pub use convert::convert;
pub use device::{Device, LoadOptions, Torch};
pub use error::{Error, Result};
pub use families::Family;
pub use model::Model;
pub use request::{Choice, Forward, ForwardOutput, Generated, Posterior, Prompt};
pub use tokenizer::{Encoding, TextStream, Tokenizer};
pub use train::Learner;
