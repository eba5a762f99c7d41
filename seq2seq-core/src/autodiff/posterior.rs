//! The latent of a variational autoencoder: a draw of a posterior, and its divergence from the prior.

use super::Autodiff;
use super::tape::{Record, Tensor};
use crate::train::{Divergence, DivergenceWeight, Posteriors, TrainBackend};
use crate::{HostTensor, Result, Rows};
use std::sync::Arc;

impl<B: TrainBackend> Autodiff<B> {
    /// The reparameterised draw of `[B, 2 Z]` posteriors ([`Posteriors::draw`]): `[B, Z]`. `noise` is `[B, Z]`, standard
    /// normal.
    ///
    /// # Errors
    /// Where there is not a number of noise for each dimension of each row.
    pub fn draw(&self, posteriors: &Tensor<B>, noise: &[f32]) -> Result<Tensor<B>> {
        let size = posteriors.width() / 2;
        let values = self.inner.download(posteriors.value())?;
        let on_host = Posteriors::new(&values, size)?;
        let z = HostTensor::from_f32(vec![posteriors.rows(), size], &on_host.draw(noise)?)?;
        let z = self.inner.upload(&z)?;
        let Some(mut tape) = self.tape() else { return Ok(Tensor::constant(z)) };
        match tape.node(posteriors)? {
            None => Ok(Tensor::constant(z)),
            Some(node) => {
                let record = Record::Draw { posteriors: node, slopes: on_host.slopes(noise) };
                Ok(tape.push(Arc::new(z), record))
            }
        }
    }

    /// The divergence of `[B, 2 Z]` posteriors from the prior. While recording, the gradient of its
    /// [`penalty`](Divergence::penalty) is where [`backward`](Self::backward) starts, beside those of other losses.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn divergence(&self, posteriors: &Tensor<B>, by: &DivergenceWeight) -> Result<Divergence> {
        let values = self.inner.download(posteriors.value())?;
        let (divergence, gradient) =
            Posteriors::new(&values, posteriors.width() / 2)?.divergence(by);
        if self.is_recording() {
            let shape = vec![posteriors.rows(), posteriors.width()];
            let gradient = self.inner.upload(&HostTensor::from_f32(shape, &gradient)?)?;
            self.seed(posteriors, gradient)?;
        }
        Ok(divergence)
    }
}
