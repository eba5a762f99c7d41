//! Scheduled sampling (Bengio, Vinyals, Jaitly and Shazeer 2015, "Scheduled sampling for sequence prediction with recurrent
//! neural networks"): a decoder that reads only the targets in training has never seen its own mistakes. So it reads, more and
//! more often, what it would have written itself.
//!
//! Which tokens it reads of its own is decided for each before the pass, and what it would have written is drawn from its
//! scores; both by numbers that are functions of the seed, the pass and the place. No gradient flows through the draw.

use super::{
    random::{Draws, Purpose},
    settings::word,
};
use crate::{Error, Forward, Result};
use serde::{Deserialize, Serialize};

/// How often a decoder reads what it would have written itself, as the training goes on: `probability` (1 - ε), with ε
/// the probability of the truth in section 2.4 of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingSettings {
    /// What it comes to when ε has gone to 0.
    pub probability: f64,
    /// How ε goes to 0.
    #[serde(deserialize_with = "word::or_table")]
    pub decay: TruthDecay,
}

/// ε after i steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum TruthDecay {
    /// 1 - i / steps, at least 0.
    Linear {
        /// All of the training where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steps: Option<u64>,
    },
    /// kⁱ, k below 1.
    Exponential {
        /// Such as 0.999.
        k: f64,
    },
    /// k / (k + e^(i / k)), k at least 1: falls most steeply about step k ln k.
    InverseSigmoid {
        /// Steps.
        k: f64,
    },
}

impl Default for SamplingSettings {
    fn default() -> Self {
        Self { probability: 0.25, decay: TruthDecay::Linear { steps: None } }
    }
}

impl SamplingSettings {
    /// Fails, naming the setting, where it makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        let (name, value, least, most) = match self.decay {
            _ if !(0.0..=1.0).contains(&self.probability) => {
                ("probability", self.probability, "0", "1")
            }
            TruthDecay::Exponential { k } if !(0.0..1.0).contains(&k) => {
                ("decay.k", k, "0", "below 1")
            }
            TruthDecay::InverseSigmoid { k } if !(1.0..f64::INFINITY).contains(&k) => {
                ("decay.k", k, "1", "finite")
            }
            TruthDecay::Linear { steps: Some(0) } => ("decay.steps", 0.0, "1", "any number"),
            _ => return Ok(()),
        };
        Err(Error::Input(format!(
            "'sampling.{name}' is {value}; it must be at least {least} and {most} at most"
        )))
    }

    /// How often after so many steps, the share `done` of the training.
    pub fn probability(&self, step: u64, done: f64) -> f64 {
        let i = step as f64;
        let truth = match self.decay {
            TruthDecay::Linear { steps: None } => 1.0 - done,
            TruthDecay::Linear { steps: Some(steps) } => 1.0 - i / steps as f64,
            TruthDecay::Exponential { k } => k.powf(i),
            TruthDecay::InverseSigmoid { k } => k / (k + (i / k).exp()),
        };
        self.probability * (1.0 - truth.clamp(0.0, 1.0))
    }
}

/// Scheduled sampling in one pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// How often a token is one that the model would have written, from 0 to 1.
    pub probability: f64,
    /// That of the training.
    pub seed: u64,
    /// The number of the pass, which no other pass has.
    pub pass: u64,
}

impl Sampling {
    /// Of each token that the decoder reads, what its own is drawn by, the largest of score +
    /// [`gumbel`](seq2seq_core::noise::gumbel)`(seed, id)`; `None` for the given one. The first has nothing before it that
    /// one could be drawn from.
    pub fn seeds(&self, input: &Forward) -> Vec<Option<u64>> {
        let sequences = input.decoder_input_ids.iter().flatten().enumerate();
        let of = |(i, ids): (usize, &Vec<u32>)| {
            let mut draws = Draws::new(self.seed, Purpose::Sampling, self.pass, i as u64);
            let seed = |at: usize| {
                let (uniform, seed) = (draws.unit(), draws.bits());
                Some(seed).filter(|_| at > 0 && uniform < self.probability)
            };
            (0..ids.len()).map(seed).collect::<Vec<_>>()
        };
        sequences.flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truth_decays_as_said() {
        let of = |decay, step, done| {
            SamplingSettings { probability: 0.5, decay }.probability(step, done)
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        let linear = TruthDecay::Linear { steps: None };
        near(of(linear, 0, 0.0), 0.0);
        near(of(linear, 7, 0.5), 0.25);
        near(of(linear, 9, 1.0), 0.5);
        let steps = TruthDecay::Linear { steps: Some(10) };
        near(of(steps, 5, 0.1), 0.25);
        near(of(steps, 20, 0.2), 0.5);
        let exponential = TruthDecay::Exponential { k: 0.9 };
        near(of(exponential, 0, 0.0), 0.0);
        near(of(exponential, 2, 0.0), 0.5 * (1.0 - 0.81));
        let sigmoid = TruthDecay::InverseSigmoid { k: 10.0 };
        near(of(sigmoid, 0, 0.0), 0.5 * (1.0 - 10.0 / 11.0));
        // At k ln k one of two is of the model.
        near(of(TruthDecay::InverseSigmoid { k: 1.0 }, 0, 0.0), 0.25);
        assert!(of(sigmoid, 10_000, 1.0) > 0.499_999);
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        for (text, says) in [
            ("probability = 1.5", "'sampling.probability' is 1.5"),
            ("decay = { kind = 'exponential', k = 1.0 }", "'sampling.decay.k' is 1"),
            ("decay = { kind = 'inverse_sigmoid', k = 0.5 }", "'sampling.decay.k' is 0.5"),
            ("decay = { kind = 'linear', steps = 0 }", "'sampling.decay.steps' is 0"),
        ] {
            let settings: SamplingSettings = toml::from_str(text).unwrap();
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        SamplingSettings::default().check().unwrap();
    }

    #[test]
    fn tokens_are_chosen_by_seed_pass_and_place() {
        let input = Forward {
            decoder_input_ids: Some(vec![vec![0; 1000], vec![0; 500]]),
            ..Forward::default()
        };
        let sampling = Sampling { probability: 0.25, seed: 3, pass: 4 };
        let seeds = sampling.seeds(&input);
        assert_eq!((seeds.len(), seeds[0], seeds[1000]), (1500, None, None));
        let own = seeds.iter().flatten().count();
        // Three standard deviations of 1498 draws.
        assert!((324..=425).contains(&own), "{own}");
        assert_eq!(seeds, sampling.seeds(&input));
        assert_ne!(seeds, Sampling { pass: 5, ..sampling }.seeds(&input));
        assert_ne!(seeds, Sampling { seed: 4, ..sampling }.seeds(&input));
        // More of them where it is more probable, and none where it is not.
        let more = Sampling { probability: 0.75, ..sampling }.seeds(&input);
        assert!(seeds.iter().zip(&more).all(|(a, b)| a.is_none() || a == b));
        let none = Sampling { probability: 0.0, ..sampling }.seeds(&input);
        assert!(none.iter().all(Option::is_none));
        let all = Sampling { probability: 1.0, ..sampling }.seeds(&input);
        assert_eq!(all.iter().flatten().count(), 1498);
    }
}
