//! A variational autoencoder: sentences as points, and points as sentences.

use super::Model;
use crate::{
    Error, Generated, Posterior, Prompt, Result,
    generate::{self, ConfigLayers, Context, GenerationConfig, Sink},
    stacks::no_latent,
};
use seq2seq_core::noise::normal_row;

impl Model {
    /// Z, the dimensions of the latent space; `None` for a model that is no variational autoencoder.
    pub fn latent_size(&self) -> Option<usize> {
        self.plan().recurrent.as_ref()?.latent
    }

    /// What each source is taken for. To decode from its mean is to reconstruct it, which is what
    /// [`generate`](Self::generate) does with such a model.
    ///
    /// # Errors
    /// For a model without a latent, and sources that [`forward`](Self::forward) would refuse.
    pub fn posteriors(&self, sources: &[Vec<u32>]) -> Result<Vec<Posterior>> {
        self.shared.engine.compute.posteriors(sources)
    }

    /// Points of the prior, the standard normal distribution: the same for the same seed, and the first of them for any
    /// `count`.
    ///
    /// # Errors
    /// For a model without a latent.
    pub fn prior(&self, count: usize, seed: u64) -> Result<Vec<Vec<f32>>> {
        let size = self.latent_size().ok_or_else(no_latent)?;
        Ok((0..count).map(|row| normal_row(seed, row as u64, size).collect()).collect())
    }

    /// Decodes each point into its sequences, the best first. `config` is laid over the model's own settings.
    ///
    /// ```
    /// use seq2seq_models::{LoadOptions, Model, generate::GenerationConfig, model::between};
    ///
    /// # let folder = "../fixtures/rnn_gru_latent";
    /// let model = Model::load(folder, &LoadOptions::default())?;
    /// let ends = model.posteriors(&[vec![5, 6, 2], vec![9, 8, 7, 2]])?;
    /// let points = between(&ends[0].mean, &ends[1].mean, 7)?;
    /// let sentences = model.generate_at(&points, &GenerationConfig::default(), &mut ())?;
    /// for sequences in &sentences {
    ///     println!("{:?}", sequences[0].ids);
    /// }
    /// assert_eq!(sentences.len(), 7);
    ///
    /// // Sentences that nobody has written: from points of the prior.
    /// let points = model.prior(3, 1)?;
    /// assert_eq!(points[0].len(), model.latent_size().unwrap_or(0));
    /// model.generate_at(&points, &GenerationConfig::default(), &mut ())?;
    /// # Ok::<(), seq2seq_models::Error>(())
    /// ```
    ///
    /// # Errors
    /// Settings that make no sense, a model without a latent, no points, and points of another number of coordinates than
    /// [`latent_size`](Self::latent_size) or with one that is not finite.
    pub fn generate_at(
        &self,
        points: &[Vec<f32>],
        config: &GenerationConfig,
        sink: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>> {
        let plan = self.plan_at(&self.decoding().with(config)?, &self.context()?, points.len())?;
        self.run_at(&plan, points, sink)
    }

    /// A plan for as many points, for [`run_at`](Self::run_at).
    ///
    /// # Errors
    /// Settings that make no sense, and a model without a latent.
    pub fn plan_at<'c>(
        &self,
        layers: &ConfigLayers,
        context: &Context<'c>,
        points: usize,
    ) -> Result<generate::Plan<'c>> {
        self.latent_size().ok_or_else(no_latent)?;
        // What the decoder begins with is its start token, as for any source.
        let prompt = Prompt::default();
        generate::Plan::new(layers, context, &vec![prompt; points])
    }

    /// Carries out a plan of [`plan_at`](Self::plan_at).
    ///
    /// # Errors
    /// Those of [`generate_at`](Self::generate_at), and where the plan is for another number of points or another kind of model.
    pub fn run_at(
        &self,
        plan: &generate::Plan<'_>,
        points: &[Vec<f32>],
        sink: &mut dyn Sink,
    ) -> Result<Vec<Vec<Generated>>> {
        let (planned, found) = (plan.histories().len(), points.len());
        if planned != found {
            return Err(Error::Input(format!("a plan for {planned} points, and {found} points")));
        }
        plan.check_model(&self.context()?)?;
        self.shared.engine.compute.generate_at(plan, points, sink)
    }
}

/// `steps` points on the line from one point to another, both included: z = (1 - t) a + t b (Bowman et al. 2016, section 5.3).
///
/// ```
/// use seq2seq_models::model::between;
///
/// let line = between(&[0.0, 1.5], &[1.0, -0.5], 5)?;
/// assert_eq!((line.len(), &line[0], &line[4]), (5, &vec![0.0, 1.5], &vec![1.0, -0.5]));
/// assert_eq!(line[1], [0.25, 1.0]);
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
///
/// # Errors
/// For fewer than two steps, and points of different lengths.
pub fn between(from: &[f32], to: &[f32], steps: usize) -> Result<Vec<Vec<f32>>> {
    if steps < 2 {
        return Err(Error::Input(format!("{steps} steps do not lead from one point to another")));
    }
    if from.len() != to.len() {
        let reason = format!("a point of {} and one of {} coordinates", from.len(), to.len());
        return Err(Error::Input(reason));
    }
    let point = |step: usize| {
        let t = step as f64 / (steps - 1) as f64;
        let mixed = |(&a, &b): (&f32, &f32)| ((1.0 - t) * f64::from(a) + t * f64::from(b)) as f32;
        from.iter().zip(to).map(mixed).collect()
    };
    Ok((0..steps).map(point).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_ends() {
        let line = between(&[0.0, 1.5], &[1.0, -0.5], 5).unwrap();
        assert_eq!(line.first().unwrap(), &[0.0, 1.5]);
        assert_eq!(line[1], [0.25, 1.0]);
        assert_eq!(line.last().unwrap(), &[1.0, -0.5]);
        assert!(between(&[0.0], &[1.0], 1).unwrap_err().to_string().contains("1 steps"));
        assert!(between(&[0.0], &[1.0, 2.0], 3).is_err());
    }
}
