//! One step of a training: passes over some batches, and the optimisers.

use super::{Last, PARTS, Trainer};
use crate::{
    Error, Result,
    train::{
        PassOptions, data,
        random::{self, Purpose},
        sampling::Sampling,
        vae::{Elbo, LatentPass},
    },
};
use seq2seq_core::train::DivergenceWeight;
use std::time::Instant;

impl Trainer {
    /// Takes a step.
    pub(super) fn step(&mut self) -> Result<()> {
        let began = Instant::now();
        let factor = match self.settings.minutes {
            None => self.schedule.factor(self.progress.step),
            Some(_) => self.schedule.factor((self.done() * PARTS as f64) as u64),
        };
        let step = self.progress.step + 1;
        let kl_weight = self.divergence().map(|by| by.weight);
        let (mut sum, mut tokens) = (Elbo::default(), 0);
        let mut rows = None;
        for _ in 0..self.settings.optimiser.accumulate {
            let batch = self.batcher.next_batch()?;
            let part = self.pass(&batch);
            let part = part.map_err(|e| self.batcher.corpus().error(batch.rows[0], e))?;
            if !part.loss().is_finite() {
                return Err(self.not_finite(step, "loss", part.loss(), &batch));
            }
            sum += part;
            tokens += batch.tokens() as u64;
            self.progress.passes += 1;
            rows = Some(batch);
        }
        let (loss, mut norm) = (sum.reconstruction, 0.0);
        if loss.tokens > 0 {
            norm = self.learner.gradient_norm()? / loss.tokens as f64;
            if let (false, Some(batch)) = (norm.is_finite(), &rows) {
                return Err(self.not_finite(step, "norm of the gradient", norm, batch));
            }
            // PyTorch's clip_grad_norm_, to its last digit.
            let clip = self.settings.optimiser.clip;
            let clipped = if clip > 0.0 { (clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
            let scale = (clipped / loss.tokens as f64) as f32;
            let (groups, counter) = (&self.groups, u32::try_from(step).unwrap_or(u32::MAX));
            let taken = self
                .learner
                .step_each(|parameter| groups.optimiser(&parameter.name, factor, counter, scale));
            if let Err(e) = taken {
                // Backends refuse weights that are no numbers, without their names.
                self.check_weights(step)?;
                return Err(Error::Input(format!("step {step}: {e}")));
            }
        }
        if let Some(average) = &mut self.average {
            average.update(step, &self.learner)?;
        }
        let window = &mut self.progress.window;
        window.loss += sum.loss();
        window.latent.reconstruction += loss.sum;
        window.latent.divergence += sum.divergence.sum;
        window.latent.rows += sum.sequences as u64;
        window.correct += loss.correct as u64;
        window.targets += loss.tokens as u64;
        window.tokens += tokens;
        let seconds = began.elapsed().as_secs_f64();
        window.seconds += seconds;
        self.progress.seconds += seconds;
        self.progress.tokens += loss.tokens as u64;
        self.progress.step = step;
        let epoch = rows.map_or(0, |batch| batch.epoch);
        self.last = Last { gradient_norm: norm, rate: self.groups.rate(factor), epoch, kl_weight };
        Ok(())
    }

    /// How the divergence of a variational autoencoder enters the loss of this step.
    fn divergence(&self) -> Option<DivergenceWeight> {
        let vae = self.settings.data.objective.vae()?;
        Some(vae.divergence(self.progress.step, self.done()))
    }

    /// One pass forward and back. What has no latent has no divergence.
    fn pass(&self, rows: &data::Batch) -> Result<Elbo> {
        let (seed, pass) = (self.settings.seed, self.progress.passes);
        let sampling = self.settings.sampling.map(|scheduled| {
            let probability = scheduled.probability(self.progress.step, self.done());
            Sampling { probability, seed, pass }
        });
        let options = PassOptions {
            // Passes are numbered anew after 2³², with another seed.
            dropout: Some((random::key(seed, Purpose::Dropout, pass >> 32), pass as u32)),
            smoothing: self.settings.smoothing(),
            checkpointing: self.settings.checkpointing,
            sampling,
        };
        let batch = self.objective.learned(rows, pass)?;
        match (self.objective.noise(rows, pass), self.divergence()) {
            (Some(noise), Some(divergence)) => {
                let latent = LatentPass { noise: &noise, divergence };
                self.learner.learn_latent(&batch, &options, &latent)
            }
            _ => Ok(Elbo::of_loss(self.learner.learn(&batch, &options)?, rows.rows.len())),
        }
    }
}
