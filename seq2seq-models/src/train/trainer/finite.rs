//! A number that is none ends a training before anything is written over.

use super::Trainer;
use crate::{Error, Result, train::data};

/// What can be done about it.
const ADVICE: &str = "A smaller 'optimiser.rate' or a longer warm-up may help, in a new folder or after removing this one; the \
                      last checkpoint is as it was";

impl Trainer {
    /// Fails where a weight, or a mean of one, is NaN or infinite after `step`: neither a model nor a checkpoint is made of
    /// these. What is not trained stays what it was when it was read.
    pub(super) fn check_weights(&self, step: u64) -> Result<()> {
        let check = |what: &str, name: &str, values: &[f32]| {
            values.iter().find(|v| !v.is_finite()).map_or(Ok(()), |value| {
                Err(Error::Input(format!("step {step}: {what} '{name}' holds {value}. {ADVICE}")))
            })
        };
        for parameter in self.learner.parameters().into_iter().filter(|p| !p.frozen) {
            check("the parameter", &parameter.name, &self.learner.value(&parameter.name)?)?;
        }
        let averages = self.average.iter().flat_map(|average| average.values());
        averages.into_iter().try_for_each(|(name, values)| check("the mean of", name, values))
    }

    /// The error for a loss or a gradient that is no number: which step, which rows, which parameter.
    pub(super) fn not_finite(
        &self,
        step: u64,
        what: &str,
        value: f64,
        batch: &data::Batch,
    ) -> Error {
        let not_finite = |name: &str| {
            let gradient = self.learner.gradient(name).ok().flatten();
            gradient.is_some_and(|g| g.iter().any(|v| !v.is_finite()))
        };
        let parameter = self.learner.parameters().into_iter().find(|p| not_finite(&p.name));
        let parameter = match parameter {
            Some(p) => format!("the gradient of '{}' is not finite", p.name),
            None => "all gradients are finite".into(),
        };
        self.learner.clear_gradients();
        self.batcher.corpus().error(
            batch.rows[0],
            format!(
                "step {step}: the {what} is {value} in a batch of {} rows, of which this is one; {parameter}. {ADVICE}",
                batch.rows.len()
            ),
        )
    }
}

/// The error for an evaluation whose loss is no number, though all weights are.
pub(crate) fn not_measured(step: u64, loss: f64) -> Error {
    Error::Input(format!(
        "step {step}: the loss of the evaluation is {loss}, though all weights are finite: they have become too large. {ADVICE}"
    ))
}
