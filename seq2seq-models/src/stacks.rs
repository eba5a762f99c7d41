//! Blocks in a row, and whole models made of stacks and a head.

use crate::{Result, checkpoint::Loader, plan::ModelPlan};
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
pub(crate) use recurrent::RecurrentModel;
pub(crate) use transformer::Transformer;

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
