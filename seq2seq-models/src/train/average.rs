//! A running mean of the weights.

use super::{Learner, settings::AverageSettings};
use crate::Result;

/// An exponential mean of every weight that is trained (Polyak and Juditsky 1992). It is often better than the weights that
/// it follows, as if they had been trained further at a smaller rate.
#[derive(Debug, Clone)]
pub(crate) struct Average {
    settings: AverageSettings,
    /// How often it has been added to.
    added: u64,
    /// By parameter, in the order of the learner.
    values: Vec<(String, Vec<f32>)>,
}

impl Average {
    /// The weights as they are.
    pub(crate) fn new(settings: AverageSettings, learner: &Learner) -> Result<Self> {
        let parameters = learner.parameters().into_iter();
        let values = parameters.map(|p| Ok((p.name.clone(), learner.value(&p.name)?)));
        Ok(Self { settings, added: 0, values: values.collect::<Result<_>>()? })
    }

    /// As it was when it had been added to `added` times.
    pub(crate) fn restored(
        settings: AverageSettings,
        added: u64,
        values: Vec<(String, Vec<f32>)>,
    ) -> Self {
        Self { settings, added, values }
    }

    /// Adds the weights after `step`, if it is one at which they are added.
    pub(crate) fn update(&mut self, step: u64, learner: &Learner) -> Result<()> {
        if !step.is_multiple_of(self.settings.every) {
            return Ok(());
        }
        self.added += 1;
        let n = self.added as f64;
        // A mean that is full of the first weights would take 1 / (1 - decay) additions to forget them.
        let part = (1.0 - self.settings.decay.min((1.0 + n) / (10.0 + n))) as f32;
        for (name, mean) in &mut self.values {
            let value = learner.value(name)?;
            mean.iter_mut().zip(value).for_each(|(mean, v)| *mean += part * (v - *mean));
        }
        Ok(())
    }

    /// How often it has been added to.
    pub(crate) fn added(&self) -> u64 {
        self.added
    }

    /// By parameter.
    pub(crate) fn values(&self) -> &[(String, Vec<f32>)] {
        &self.values
    }

    /// Does something with a learner that has these weights, and gives it back its own.
    pub(crate) fn with<T>(&self, learner: &Learner, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let own = Self::new(self.settings, learner)?;
        self.put(learner)?;
        let result = work();
        own.put(learner)?;
        result
    }

    fn put(&self, learner: &Learner) -> Result<()> {
        let mut values = self.values.iter();
        // Both are in the order of the parameters.
        learner.set_values(|_| Ok(values.next().map(|(_, values)| values.clone())))
    }
}
