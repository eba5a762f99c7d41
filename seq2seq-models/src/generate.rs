//! Decoding as Hugging Face `generate()` does it, to the token and the score.
//!
//! 1. [`ConfigLayers`] lays the caller's settings over those of the model's files and remembers which came from where.
//! 2. [`Plan`] settles and checks them for the prompts at hand.
//! 3. The model opens a [`DecodeSession`] of the size that the plan asks for.
//! 4. [`run`] searches: greedy search and sampling in `single`, beam search and beam sampling in `beam`. Both state what
//!    changes in the scores of a hypothesis as rules, made by `rules` from its history and applied by the backend.
//!
//! "PARITY trap n" names an entry of `docs/parity.md`.
//!
//! [`Model::generate`](crate::Model::generate) does all of it. Step by step:
//!
//! ```
//! use seq2seq_models::{
//!     LoadOptions, Model, Prompt, Tokenizer,
//!     generate::{EarlyStopping, GenerationConfig, Origin, Plan, TokenIds},
//! };
//!
//! # let folder = "../fixtures/t5_v1_0";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let tokenizer = Tokenizer::from_files(model.files())?;
//! let config = GenerationConfig {
//!     num_beams: Some(4),
//!     early_stopping: Some(EarlyStopping::Yes),
//!     max_new_tokens: Some(12),
//!     // The end of a text, and here the full stop as well.
//!     eos_token_id: Some(TokenIds([tokenizer.eos_id(), tokenizer.token_to_id(".")].into_iter().flatten().collect())),
//!     ..GenerationConfig::default() // all else as the model's files say
//! };
//! let layers = model.decoding().with(&config)?;
//! assert_eq!(layers.origin("num_beams"), Origin::Caller);
//! assert_eq!(layers.origin("decoder_start_token_id"), Origin::GenerationConfig);
//! assert_eq!(layers.origin("length_penalty"), Origin::Default);
//! for notice in layers.notices() {
//!     eprintln!("{notice}"); // such as a misspelt field in the model's files
//! }
//!
//! let prompts = [Prompt::new(tokenizer.encode("The blue cat sat on the old river house.")?.ids())];
//! let plan = Plan::new(&layers, &model.context()?, &prompts)?;
//! assert_eq!((plan.hypotheses(), plan.capacity()), (4, 12));
//! let best = &model.run(&plan, &mut ())?[0][0];
//! println!("{} {}", best.score, tokenizer.decode(&best.ids, true)?);
//! assert!(best.ids.len() <= 1 + 12); // the decoder's start comes first
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! # What beam search gave up
//!
//! ```
//! use seq2seq_models::{
//!     Generated, LoadOptions, Model, Prompt,
//!     generate::{GenerationConfig, LossReason, Lost, Sink},
//! };
//! use std::ops::ControlFlow;
//!
//! #[derive(Default)]
//! struct Losses {
//!     surpassed: Vec<(f32, Vec<u32>)>,
//!     finished: usize,
//! }
//!
//! impl Sink for Losses {
//!     fn hears_lost(&self) -> bool {
//!         true
//!     }
//!
//!     fn lost(&mut self, _row: usize, lost: &Lost<'_>) {
//!         println!("step {}: {} {:?} {}", lost.step, lost.reason.name(), lost.ids, lost.score);
//!         if lost.reason == LossReason::Surpassed {
//!             self.surpassed.push((lost.score, lost.ids.to_vec()));
//!         }
//!     }
//!
//!     fn finished(&mut self, _row: usize, sequences: &[Generated]) -> ControlFlow<()> {
//!         // Whatever had ended and is not returned is worse than what is.
//!         assert!(self.surpassed.iter().all(|(score, _)| *score <= sequences[0].score));
//!         self.finished += 1;
//!         ControlFlow::Continue(())
//!     }
//! }
//!
//! # let folder = "../fixtures/t5_v1_0";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let config = GenerationConfig { num_beams: Some(4), ..GenerationConfig::default() };
//! let mut losses = Losses::default();
//! model.generate(&[Prompt::new([14, 15, 9, 1])], &config, &mut losses)?;
//! assert_eq!(losses.finished, 1);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! # A model of one's own
//!
//! Search needs no more of a model than a [`DecodeSession`]. Here it is a table of what follows what:
//!
//! ```
//! use seq2seq_models::{
//!     Prompt, Result,
//!     generate::{self, ConfigLayers, Context, DecodeSession, GenerationConfig, Plan},
//!     seq2seq_core::{Backend, HostTensor, Ragged, reference::Reference},
//! };
//!
//! /// Scores for the next id by the last one, `[V, V]`.
//! struct Bigrams<'a> {
//!     table: &'a [[f32; 4]; 4],
//!     backend: Reference,
//! }
//!
//! impl DecodeSession<Reference> for Bigrams<'_> {
//!     fn step(&mut self, ids: &[u32], rows: &Ragged) -> Result<<Reference as Backend>::Tensor> {
//!         let last = rows.last_rows()?.into_iter().map(|row| ids[row] as usize);
//!         let logits: Vec<f32> = last.flat_map(|id| self.table[id]).collect();
//!         let logits = HostTensor::from_f32(vec![rows.sequences(), self.vocab()], &logits)?;
//!         Ok(self.backend.upload(&logits)?)
//!     }
//!
//!     // A hypothesis has no state here that would have to go where it goes.
//!     fn reorder(&mut self, _parents: &[usize]) -> Result<()> {
//!         Ok(())
//!     }
//!
//!     fn record_weights(&mut self) -> Result<()> {
//!         Err(seq2seq_models::Error::input("bigrams attend to nothing"))
//!     }
//!
//!     fn take_weights(&mut self) -> Vec<Vec<Vec<f32>>> {
//!         Vec::new()
//!     }
//!
//!     fn backend(&self) -> &Reference {
//!         &self.backend
//!     }
//!
//!     fn vocab(&self) -> usize {
//!         4
//!     }
//! }
//!
//! // 0 is followed by 1 or 2, 1 by 3, 2 by 3 or itself; 3 ends.
//! let table = [[0., 2., 1., 0.], [0., 0., 0., 5.], [0., 0., 4., 5.], [0.; 4]];
//! let config = GenerationConfig {
//!     num_beams: Some(2),
//!     num_return_sequences: Some(2),
//!     max_new_tokens: Some(4),
//!     eos_token_id: Some(3.into()),
//!     ..GenerationConfig::default()
//! };
//! let context =
//!     Context { encoder_decoder: false, vocab: 4, max_position_embeddings: None, token_bytes: None };
//! let plan = Plan::new(&ConfigLayers::new().with(&config)?, &context, &[Prompt::new([0])])?;
//! let mut session = Bigrams { table: &table, backend: Reference };
//! let sequences = &generate::run(&plan, &mut session, &mut ())?[0];
//! assert_eq!((&sequences[0].ids[..], &sequences[1].ids[..]), (&[1, 3][..], &[2, 3][..]));
//! assert!(sequences[0].score > sequences[1].score);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```

mod beam;
mod config;
mod feeder;
mod layers;
mod log;
mod plan;
mod results;
mod rng;
mod rules;
mod session;
mod single;
#[cfg(test)]
mod single_steps;
mod sink;
mod stop;
mod unsupported;
mod validate;

pub use config::{EarlyStopping, GenerationConfig, TokenIds};
pub use layers::{ConfigLayers, Origin};
pub use plan::{Context, Plan};
pub use rng::any_seed;
pub use session::DecodeSession;
pub use sink::{LossReason, Lost, Sink};
pub use stop::TokenBytes;

use crate::{Error, Generated, Result};
use plan::Mode;
use seq2seq_core::DecoderOps;

/// Carries out `plan` in a fresh `session`: for each row its sequences, the best first, or as they were drawn.
///
/// Where the rules leave fewer continuations than there are beams, transformers fills up with placeholders that score
/// about -1e9. So does this as far as they have ids of their own; else there are fewer sequences.
///
/// # Errors
/// Where the rules leave no id to choose or the scores are not numbers, and whatever the session or its backend report.
pub fn run<B: DecoderOps, S: DecodeSession<B> + ?Sized>(
    plan: &Plan<'_>,
    session: &mut S,
    sink: &mut dyn Sink,
) -> Result<Vec<Vec<Generated>>> {
    if plan.histories().len() == 0 {
        return Ok(Vec::new());
    }
    seq2seq_core::Error::expect("generate", "vocabulary", plan.vocab, session.vocab())?;
    match &plan.mode {
        Mode::Beams(spec) => beam::run(plan, spec, session, sink),
        Mode::Greedy | Mode::Sample { .. } => single::run(plan, session, sink),
    }
}

/// All scores are minus infinity, or one is not a number.
fn no_id_left(row: usize) -> Error {
    Error::Input(format!(
        "row {row}: no id is left to choose: the settings (such as bad_words_ids, suppress_tokens and \
         no_repeat_ngram_size) ban them all, or the model's scores are not finite"
    ))
}
