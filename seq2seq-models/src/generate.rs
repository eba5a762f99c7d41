//! Decoding as Hugging Face `generate()` does it, to the token and the score.
//!
//! 1. [`ConfigLayers`] lays the caller's settings over those of the model's files and remembers which came from where.
//! 2. [`Plan`] settles and checks them for the prompts at hand.
//! 3. The model opens a [`DecodeSession`] of the size that the plan asks for.
//! 4. [`run`] searches: greedy search and sampling in `single`, beam search and beam sampling in `beam`. Both state what
//!    changes in the scores of a hypothesis as rules, made by `rules` from its history and applied by the backend.
//!
//! "PARITY trap n" names an entry of `docs/parity.md`.

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
