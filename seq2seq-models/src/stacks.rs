//! Blocks in a row, and whole models made of stacks and a head.

use crate::{Error, Result, checkpoint::Loader, plan::ModelPlan};
use seq2seq_core::SeqBackend;

mod head;
mod input;
mod recurrent;
mod session;
mod stack;
#[cfg(test)]
mod tests;
mod transformer;

pub(crate) use input::check_ids;
pub(crate) use recurrent::{LatentScores, RecurrentModel};
pub(crate) use transformer::Transformer;

/// The error of asking a model for a latent that it has not.
pub(crate) fn no_latent() -> Error {
    Error::input(
        "this model has no latent: only a variational autoencoder (rnn_seq2seq with 'latent' in config.json) can be \
         sampled from, interpolated, and trained by the objective 'vae'",
    )
}

/// A model of either kind.
pub(crate) enum Stacks<B: SeqBackend> {
    Transformer(Box<Transformer<B>>),
    Recurrent(Box<RecurrentModel<B>>),
}

/// The model that `plan` describes.
pub(crate) fn load<B: SeqBackend>(plan: &ModelPlan, loader: &Loader<'_, B>) -> Result<Stacks<B>> {
    Ok(match &plan.recurrent {
        Some(recurrent) => {
            let model = RecurrentModel::load(recurrent, &plan.head, loader)?;
            Stacks::Recurrent(Box::new(model))
        }
        None => Stacks::Transformer(Box::new(Transformer::load(plan, loader)?)),
    })
}
