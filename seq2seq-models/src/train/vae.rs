//! Sentence variational autoencoders (Bowman, Vilnis, Vinyals, Dai, Jozefowicz and Bengio 2016, "Generating sentences from a
//! continuous space"): a text is read into a Gaussian over points z, and written again from a point that is drawn of it.
//!
//! What is learned is the evidence lower bound, log p(x | z) - KL(q(z | x) ‖ p(z)) (Kingma and Welling 2014). A decoder that
//! writes well without z would leave the divergence at nothing and z unused; against that stand a weight of the divergence
//! that rises from nothing ([`Annealing`]), a divergence that costs nothing up to some nats (free bits), and words that the
//! decoder does not get to read (word dropout).
//!
//! Every random number is a function of the seed, the pass and the place; in evaluations of the seed and the row, so that
//! all of them measure with the same draws.
//!
//! A loop of one's own; a [`Trainer`](super::Trainer) does the same with the objective `vae`:
//!
//! ```
//! use seq2seq_models::{
//!     Forward, Learner, LoadOptions,
//!     seq2seq_core::{autodiff::Optimiser, train::AdamW},
//!     train::{
//!         Batch, PassOptions,
//!         vae::{Annealing, Elbo, LatentPass, VaeSettings, drop_words, evaluation_noise, training_noise},
//!     },
//! };
//!
//! # let folder = "../fixtures/rnn_gru_latent";
//! let learner = Learner::load(folder, &LoadOptions::default())?;
//! let size = learner.plan().recurrent.as_ref().and_then(|plan| plan.latent).ok_or("no latent")?;
//! let (seed, steps, unknown) = (1, 12, 3);
//! let vae = VaeSettings {
//!     annealing: Annealing::Linear { steps: Some(6) },
//!     free_bits: 0.1,
//!     word_dropout: 0.2,
//!     ..VaeSettings::default()
//! };
//! // Two texts, each of which is to be written again.
//! let whole = Batch {
//!     input: Forward {
//!         input_ids: vec![vec![5, 6, 7, 2], vec![9, 8, 2]],
//!         decoder_input_ids: Some(vec![vec![1, 5, 6, 7], vec![1, 9, 8]]),
//!         ..Forward::default()
//!     },
//!     targets: [5, 6, 7, 2, 9, 8, 2].map(Some).to_vec(),
//! };
//! // Rows 0 and 1 are always measured at the same points.
//! let measure = || learner.evaluate_latent(&whole, &evaluation_noise(seed, &[0, 1], size));
//! let before = measure()?.bound();
//! for step in 0..steps {
//!     let mut batch = whole.clone();
//!     drop_words(&mut batch.input, unknown, vae.word_dropout, seed, step);
//!     let divergence = vae.divergence(step, step as f64 / steps as f64);
//!     let pass = LatentPass { noise: &training_noise(seed, step, 2, size), divergence };
//!     let elbo: Elbo = learner.learn_latent(&batch, &PassOptions::default(), &pass)?;
//!     println!("{:.2} nats, of which the divergence adds {:.2}", elbo.loss(), elbo.divergence.penalty);
//!     let gradient_scale = 1.0 / elbo.reconstruction.tokens as f32;
//!     let adam = AdamW { rate: 1e-2, step: step as u32 + 1, gradient_scale, ..AdamW::default() };
//!     learner.step(&Optimiser::AdamW(adam))?;
//! }
//! assert!(measure()?.bound() < before);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{
    random::{self, Draws, Purpose},
    settings::word,
};
use crate::{Error, Forward, Result};
use seq2seq_core::{
    noise::normal_row,
    train::{Divergence, DivergenceWeight, Loss},
};
use serde::{Deserialize, Serialize};

/// How a variational autoencoder is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaeSettings {
    /// The weight of the divergence that annealing ends with; 1 is the evidence lower bound, another one the β of Higgins
    /// et al. 2017.
    pub weight: f64,
    /// How the weight gets there.
    #[serde(deserialize_with = "word::or_table")]
    pub annealing: Annealing,
    /// λ, in nats: up to this the mean divergence of a dimension over the rows of a batch costs nothing more (Kingma et al.
    /// 2016, equation 15).
    pub free_bits: f64,
    /// How often the decoder reads the unknown token in the place of one of the text (Bowman et al. 2016, section 3.1).
    pub word_dropout: f64,
}

/// The share of [`weight`](VaeSettings::weight) after i steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Annealing {
    /// All of it from the beginning.
    Constant {},
    /// i / steps, at most 1.
    Linear {
        /// The first half of the training where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steps: Option<u64>,
    },
    /// 1 / (1 + e^(-slope (i - midpoint)))
    Sigmoid {
        /// Where it is a half.
        midpoint: f64,
        /// Such as 10 / midpoint.
        slope: f64,
    },
}

impl Default for VaeSettings {
    fn default() -> Self {
        let annealing = Annealing::Linear { steps: None };
        // Without anything for nothing, a small model learns to write before it learns to read, and z stays unused.
        Self { weight: 1.0, annealing, free_bits: 0.25, word_dropout: 0.0 }
    }
}

impl VaeSettings {
    /// Fails, naming the setting, where it makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        let from_0 = 0.0..f64::INFINITY;
        let above_0 = f64::MIN_POSITIVE..f64::INFINITY;
        let mut bounds = vec![
            ("weight", self.weight, from_0.clone(), "a number from 0"),
            ("free_bits", self.free_bits, from_0.clone(), "a number from 0"),
            ("word_dropout", self.word_dropout, 0.0..1.0 + f64::EPSILON, "from 0 to 1"),
        ];
        match self.annealing {
            Annealing::Linear { steps: Some(0) } => {
                bounds.push(("annealing.steps", 0.0, above_0, "at least 1"));
            }
            Annealing::Sigmoid { midpoint, slope } => {
                bounds.push(("annealing.midpoint", midpoint, from_0, "a number from 0"));
                bounds.push(("annealing.slope", slope, above_0, "above 0"));
            }
            Annealing::Constant {} | Annealing::Linear { .. } => {}
        }
        let wrong = bounds.into_iter().find(|(_, value, range, _)| !range.contains(value));
        wrong.map_or(Ok(()), |(name, value, _, expected)| {
            Err(Error::Input(format!("'data.objective.{name}' is {value}; it must be {expected}")))
        })
    }

    /// The weight of the divergence after so many steps, the share `done` of the training.
    pub fn kl_weight(&self, step: u64, done: f64) -> f64 {
        let i = step as f64;
        let share = match self.annealing {
            Annealing::Constant {} => 1.0,
            Annealing::Linear { steps: None } => 2.0 * done,
            Annealing::Linear { steps: Some(steps) } => i / steps as f64,
            Annealing::Sigmoid { midpoint, slope } => 1.0 / (1.0 + (-slope * (i - midpoint)).exp()),
        };
        self.weight * share.min(1.0)
    }

    /// How the divergence enters the loss then.
    pub fn divergence(&self, step: u64, done: f64) -> DivergenceWeight {
        DivergenceWeight { weight: self.kl_weight(step, done), free_bits: self.free_bits }
    }
}

/// What a pass of a variational autoencoder came to, in nats; sums, so that those of several batches add up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Elbo {
    /// Of the targets, from the points that were drawn.
    pub reconstruction: Loss,
    /// Of the posteriors from the prior.
    pub divergence: Divergence,
    /// Rows.
    pub sequences: usize,
}

impl Elbo {
    /// The loss of so many rows of a model without a latent, and so without a divergence.
    pub(super) fn of_loss(reconstruction: Loss, sequences: usize) -> Self {
        Self { reconstruction, sequences, ..Self::default() }
    }

    /// What the gradient is of: the reconstruction and what the divergence adds.
    pub fn loss(&self) -> f64 {
        self.reconstruction.sum + self.divergence.penalty
    }

    /// The negative evidence lower bound: Σ -log p(x | z) + KL. On the mean over draws it is no less than Σ -log p(x).
    pub fn bound(&self) -> f64 {
        self.reconstruction.nll + self.divergence.sum
    }
}

impl std::ops::AddAssign for Elbo {
    fn add_assign(&mut self, other: Self) {
        self.reconstruction += other.reconstruction;
        self.divergence.sum += other.divergence.sum;
        self.divergence.penalty += other.divergence.penalty;
        self.sequences += other.sequences;
    }
}

/// What a pass of a variational autoencoder is told beside its batch.
#[derive(Debug, Clone, Copy)]
pub struct LatentPass<'a> {
    /// Standard normal numbers, `[B, Z]`: z = mean + σ · noise.
    pub noise: &'a [f32],
    /// How the divergence enters the loss.
    pub divergence: DivergenceWeight,
}

/// The noise of a pass of a training over `rows` rows, `[rows, size]`.
pub fn training_noise(seed: u64, pass: u64, rows: usize, size: usize) -> Vec<f32> {
    noise(random::key(seed, Purpose::Latent, pass), 0..rows, size)
}

/// The noise of an evaluation for these rows of the corpus: the same in every evaluation, whatever batches there are.
pub fn evaluation_noise(seed: u64, rows: &[usize], size: usize) -> Vec<f32> {
    noise(random::key(seed, Purpose::EvaluatedLatent, 0), rows.iter().copied(), size)
}

fn noise(key: u64, rows: impl Iterator<Item = usize>, size: usize) -> Vec<f32> {
    rows.flat_map(|row| normal_row(key, row as u64, size)).collect()
}

/// Has the decoder read `unknown` in the place of tokens, each with probability `rate`; not of the first, which is what
/// decoders begin with.
pub fn drop_words(input: &mut Forward, unknown: u32, rate: f64, seed: u64, pass: u64) {
    for (i, ids) in input.decoder_input_ids.iter_mut().flatten().enumerate() {
        let mut draws = Draws::new(seed, Purpose::Words, pass, i as u64);
        for id in ids.iter_mut().skip(1) {
            if draws.unit() < rate {
                *id = unknown;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_rises_as_said() {
        let of = |annealing, step, done| {
            VaeSettings { weight: 0.5, annealing, ..VaeSettings::default() }.kl_weight(step, done)
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(of(Annealing::Constant {}, 0, 0.0), 0.5);
        let half = Annealing::Linear { steps: None };
        near(of(half, 0, 0.0), 0.0);
        near(of(half, 9, 0.25), 0.25);
        near(of(half, 9, 0.5), 0.5);
        near(of(half, 9, 1.0), 0.5);
        let steps = Annealing::Linear { steps: Some(10) };
        near(of(steps, 4, 0.9), 0.2);
        near(of(steps, 30, 0.1), 0.5);
        let sigmoid = Annealing::Sigmoid { midpoint: 100.0, slope: 0.1 };
        near(of(sigmoid, 100, 0.0), 0.25);
        near(of(sigmoid, 0, 0.0), 0.5 / (1.0 + 10f64.exp()));
        near(of(sigmoid, 130, 0.0), 0.5 / (1.0 + (-3f64).exp()));
        assert!(of(sigmoid, 100_000, 1.0) == 0.5);
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        for (text, says) in [
            ("weight = -1.0", "'data.objective.weight' is -1"),
            ("weight = nan", "'data.objective.weight' is NaN"),
            ("free_bits = inf", "'data.objective.free_bits' is inf"),
            ("word_dropout = 1.5", "'data.objective.word_dropout' is 1.5"),
            ("annealing = { kind = 'linear', steps = 0 }", "'data.objective.annealing.steps' is 0"),
            (
                "annealing = { kind = 'sigmoid', midpoint = 9.0, slope = 0.0 }",
                "'data.objective.annealing.slope' is 0",
            ),
        ] {
            let settings: VaeSettings = toml::from_str(text).unwrap();
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        VaeSettings::default().check().unwrap();
        VaeSettings { word_dropout: 1.0, ..VaeSettings::default() }.check().unwrap();
    }

    #[test]
    fn noise_is_of_seed_pass_and_place() {
        let first = training_noise(3, 4, 5, 6);
        assert_eq!((first.len(), &first[..12]), (30, &training_noise(3, 4, 2, 6)[..]));
        assert_ne!(first, training_noise(3, 5, 5, 6));
        assert_ne!(first, training_noise(4, 4, 5, 6));
        // That of a row is the same in any batch.
        let rows = evaluation_noise(3, &[7, 2, 9], 6);
        assert_eq!(rows[6..12], evaluation_noise(3, &[2], 6));
        assert_ne!(rows[..6], rows[6..12]);
    }

    #[test]
    fn words_are_dropped_by_seed_pass_and_place() {
        let dropped = |rate, pass| {
            let ids = vec![vec![5; 1000], vec![5; 500]];
            let mut input = Forward { decoder_input_ids: Some(ids), ..Forward::default() };
            drop_words(&mut input, 2, rate, 3, pass);
            input.decoder_input_ids.unwrap()
        };
        let count = |ids: &[Vec<u32>]| ids.iter().flatten().filter(|id| **id == 2).count();
        let some = dropped(0.25, 1);
        // Three standard deviations of 1498 draws.
        assert!((324..=425).contains(&count(&some)), "{}", count(&some));
        assert_eq!(some, dropped(0.25, 1));
        assert_ne!(some, dropped(0.25, 2));
        assert_eq!((count(&dropped(0.0, 1)), count(&dropped(1.0, 1))), (0, 1498));
        assert!(dropped(1.0, 1).iter().all(|ids| ids[0] == 5));
    }
}
