//! Models as descriptions, checkpoints, decoding and tasks, over any backend.
//!
//! ```
//! use seq2seq_models::{LoadOptions, Model, Prompt, Tokenizer, generate::GenerationConfig};
//!
//! # let folder = "../fixtures/t5_v1_0";
//! let model = Model::load(folder, &LoadOptions::default())?; // any folder of Hugging Face
//! let tokenizer = Tokenizer::from_files(model.files())?;
//! let prompt = Prompt::new(tokenizer.encode("The blue cat sat on the house.")?.ids());
//! let config = GenerationConfig { num_beams: Some(4), ..GenerationConfig::default() };
//! let rows = model.generate(&[prompt], &config, &mut ())?;
//! let best = &rows[0][0];
//! println!("{} {}", best.score, tokenizer.decode(&best.ids, true)?);
//! # assert_eq!(best.ids[0], 0);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! Where to begin: [`Model`] generates and computes, [`tasks`] embed, classify, tag, answer and fill masks, [`train::Trainer`] makes
//! a folder from rows, [`Learner`] takes single steps, [`Device`] says what there is to compute on.
//!
//! Options are plain structs with a default: write `..LoadOptions::default()`, as a minor release may add fields. Results may grow
//! too: take them apart with `..`. No type of another crate but [`seq2seq_core`], which is exported again, is in this API; what is read
//! from files and written to them implements serde's traits.
//!
//! | feature | gives |
//! |---|---|
//! | `cpu` (default) | SIMD kernels in pure Rust |
//! | `cuda` | kernels for NVIDIA GPUs; building takes no CUDA, running takes the driver alone |
//! | `tch` | libtorch, which must be there when this is built and run |
//! | `hub` | models by their id on the Hugging Face hub |
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
//! | [`unfinished`] | what a program that is ended early removes |
//! | [`device`] | the choice of a backend; the only file that names one |
//!
//! "PARITY trap n" in comments names an entry of `docs/parity.md`: where implementations silently depart from the
//! transformers library.
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::missing_errors_doc)]

pub use seq2seq_core;

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
mod peft;
pub mod plan;
pub mod request;
mod stacks;
pub mod tasks;
pub mod tokenizer;
pub mod trace;
pub mod train;
pub mod unfinished;

pub use checkpoint::{Files, ModuleFormat};
pub use convert::convert;
pub use device::{Device, LoadOptions, Torch};
pub use error::{Error, Result};
pub use families::Family;
pub use model::Model;
pub use request::{Choice, Forward, ForwardOutput, Generated, Posterior, Prompt};
pub use tokenizer::{Encoding, TextStream, Tokenizer};
pub use train::Learner;
