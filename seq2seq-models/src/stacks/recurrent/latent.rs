//! What stands between encoder and decoder of a variational autoencoder (Bowman et al. 2016).

use super::{RecurrentModel, Session};
use crate::{
    Error, Forward, Result,
    checkpoint::{Part as Matrix, Scope},
    plan::RecurrentPlan,
    request::Posterior,
    stacks::no_latent,
};
use seq2seq_core::{Epilogue, HostTensor, Part, SeqBackend, Stage};

/// From what the encoder ended with to a Gaussian over points z.
pub(super) struct Latent<B: SeqBackend> {
    /// Means, and behind them logarithms of variances.
    layer: B::Linear,
    pub(super) size: usize,
    /// C, the columns of h in what the last layer ended with.
    memory: usize,
}

impl<B: SeqBackend> Latent<B> {
    /// None for a model without one.
    pub(super) fn load(plan: &RecurrentPlan, scope: &Scope<'_, '_, B>) -> Result<Option<Self>> {
        let Some(size) = plan.latent else { return Ok(None) };
        let part = |name| Matrix { name, outputs: size, bias: true };
        let parts = [part("mean"), part("log_variance")];
        let memory = plan.memory();
        Ok(Some(Self { layer: scope.linear(memory, &parts)?, size, memory }))
    }

    /// The posterior of each source, `[B, 2 Z]`, from what each layer of the encoder ended with.
    pub(super) fn posteriors(&self, backend: &B, ends: &[B::Tensor]) -> Result<B::Tensor> {
        let last = ends.last().ok_or_else(|| Error::input("an encoder has layers"))?;
        let h = backend.columns(&[Part { tensor: last, columns: 0..self.memory }])?;
        let posteriors = backend.linear(&h, &self.layer, Epilogue::NONE)?;
        backend.observe(Stage::Latent, &posteriors)?;
        Ok(posteriors)
    }

    /// z where nothing is drawn: the means, `[B, Z]`.
    pub(super) fn means(&self, backend: &B, posteriors: &B::Tensor) -> Result<B::Tensor> {
        Ok(backend.columns(&[Part { tensor: posteriors, columns: 0..self.size }])?)
    }
}

/// What a loss of a variational autoencoder is taken of.
pub(crate) struct LatentScores<T> {
    /// `[B, 2 Z]`
    pub(crate) posteriors: T,
    /// As those of [`RecurrentModel::scores`].
    pub(crate) logits: T,
}

impl<B: SeqBackend> RecurrentModel<B> {
    fn latent(&self) -> Result<&Latent<B>> {
        self.latent.as_ref().ok_or_else(no_latent)
    }

    /// As [`scores`](Self::scores), with the points that `draw` makes of the posteriors in the place of their means.
    pub(crate) fn scores_drawn(
        &self,
        request: &Forward,
        draw: impl FnOnce(&B::Tensor) -> Result<B::Tensor>,
    ) -> Result<LatentScores<B::Tensor>> {
        let (latent, target) = (self.latent()?, self.target(request)?);
        let posteriors = latent.posteriors(&self.backend, &self.read(&request.input_ids)?.ends)?;
        let z = draw(&posteriors)?;
        let mut state = self.decoder.begin_at(&self.backend, &z)?;
        let (_, logits) = self.decode(&target, &mut state)?;
        Ok(LatentScores { posteriors, logits })
    }

    /// What each source is taken for.
    pub(crate) fn posteriors(&self, sources: &[Vec<u32>]) -> Result<Vec<Posterior>> {
        let latent = self.latent()?;
        let posteriors = latent.posteriors(&self.backend, &self.read(sources)?.ends)?;
        let values = self.backend.download(&posteriors)?;
        let row = |row: &[f32]| {
            let (mean, log_variance) = row.split_at(latent.size);
            Posterior { mean: mean.to_vec(), log_variance: log_variance.to_vec() }
        };
        Ok(values.chunks(2 * latent.size).map(row).collect())
    }

    /// Begins a decoding at points z, one hypothesis each.
    pub(crate) fn session_at(&self, points: &[Vec<f32>]) -> Result<Session<'_, B>> {
        let latent = self.latent()?;
        for (i, point) in points.iter().enumerate() {
            if point.len() != latent.size {
                return Err(Error::Input(format!(
                    "point {i} has {} coordinates; the latent of this model has {}",
                    point.len(),
                    latent.size
                )));
            }
            if let Some(at) = point.iter().position(|v| !v.is_finite()) {
                return Err(Error::Input(format!("point {i}: coordinate {at} is {}", point[at])));
            }
        }
        if points.is_empty() {
            return Err(Error::input("there are no points to decode from"));
        }
        let z = HostTensor::from_f32(vec![points.len(), latent.size], &points.concat())?;
        let z = self.backend.upload(&z)?;
        Ok(Session::new(self, self.decoder.begin_at(&self.backend, &z)?))
    }
}
