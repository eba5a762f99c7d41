//! The learning rate from step to step.

use serde::{Deserialize, Serialize};
use std::{f64::consts::PI, num::NonZeroU64};

/// How the rate goes after the warm-up.
///
/// ```
/// use seq2seq_models::train::schedule::{Decay, Schedule};
///
/// let halfway = |decay| Schedule { decay, warmup: 100, steps: 1100 }.factor(600);
/// assert_eq!(halfway(Decay::Constant), 1.0);
/// assert_eq!(halfway(Decay::Linear { min_ratio: 0.1 }), 0.55);
/// assert!((halfway(Decay::Cosine { min_ratio: 0.0 }) - 0.5).abs() < 1e-12);
/// // 500 steps behind a warm-up of 100.
/// assert!((halfway(Decay::InverseSqrt { timescale: None }) - (100f64 / 600.0).sqrt()).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Decay {
    /// It stays.
    Constant,
    /// It falls in a straight line.
    Linear {
        /// What is left of it at the last step, from 0 to 1.
        #[serde(default)]
        min_ratio: f64,
    },
    /// It falls along half a cosine (Loshchilov and Hutter 2017, without restarts).
    Cosine {
        /// What is left of it at the last step, from 0 to 1.
        #[serde(default)]
        min_ratio: f64,
    },
    /// It falls with the inverse square root of the step (Vaswani et al. 2017), for training without a planned end.
    InverseSqrt {
        /// The steps after which it has fallen to 1/√2, counted from the end of the warm-up. `None` is as many as the
        /// warm-up has, or 10,000 without one.
        #[serde(default)]
        timescale: Option<NonZeroU64>,
    },
}

/// The learning rate as a share of the largest, step by step as `get_scheduler` of transformers has it (there `constant`,
/// `constant_with_warmup`, `linear`, `cosine`, `cosine_with_min_lr`, `inverse_sqrt`, and for the line with a least rate
/// `polynomial` of power 1).
///
/// ```
/// use seq2seq_models::train::schedule::{Decay, Schedule};
///
/// let schedule = Schedule { decay: Decay::Linear { min_ratio: 0.0 }, warmup: 10, steps: 110 };
/// let rate = |done| 1e-3 * schedule.factor(done);
/// assert_eq!((rate(0), rate(10), rate(60), rate(110)), (0.0, 1e-3, 0.5e-3, 0.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// What follows the warm-up.
    pub decay: Decay,
    /// Steps in which the rate rises in a straight line from 0.
    pub warmup: u64,
    /// All steps, those of the warm-up included. Without effect where the decay has no end.
    pub steps: u64,
}

impl Schedule {
    /// What the largest learning rate is to be multiplied by when `done` steps have been taken: the first step is taken
    /// at `factor(0)`, which is 0 where there is a warm-up.
    ///
    /// From 0 to 1. Behind the last step it stays what it is there, where the cosine of transformers would rise again.
    pub fn factor(&self, done: u64) -> f64 {
        if done < self.warmup {
            return done as f64 / self.warmup as f64;
        }
        let decaying = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let left = self.steps.saturating_sub(done) as f64 / decaying;
        let between = |least: f64, share: f64| least + (1.0 - least) * share;
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear { min_ratio } => between(min_ratio, left),
            Decay::Cosine { min_ratio } => between(min_ratio, 0.5 * (1.0 - (PI * left).cos())),
            Decay::InverseSqrt { timescale } => {
                let usual = if self.warmup > 0 { self.warmup } else { 10_000 };
                let timescale = timescale.map_or(usual, NonZeroU64::get) as f64;
                (timescale / (timescale + (done - self.warmup) as f64)).sqrt()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_end_the_rate_stays() {
        for (decay, least) in
            [(Decay::Linear { min_ratio: 0.0 }, 0.0), (Decay::Cosine { min_ratio: 0.1 }, 0.1)]
        {
            for (warmup, steps) in [(3, 10), (10, 10), (0, 1), (12, 10)] {
                let schedule = Schedule { decay, warmup, steps };
                for done in [steps.max(warmup), steps + 25, u64::MAX] {
                    assert!((schedule.factor(done) - least).abs() < 1e-15, "{schedule:?} {done}");
                }
            }
        }
    }

    #[test]
    fn schedules_are_written_and_read() {
        let decay = |json: &str| serde_json::from_str::<Decay>(json);
        assert_eq!(decay(r#"{"kind": "linear"}"#).unwrap(), Decay::Linear { min_ratio: 0.0 });
        assert_eq!(
            decay(r#"{"kind": "inverse_sqrt"}"#).unwrap(),
            Decay::InverseSqrt { timescale: None }
        );
        assert!(decay(r#"{"kind": "cosine", "min": 1}"#).is_err());
        let schedule = Schedule { decay: Decay::Cosine { min_ratio: 0.25 }, warmup: 3, steps: 9 };
        let written = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&written).unwrap(), schedule);
    }
}
