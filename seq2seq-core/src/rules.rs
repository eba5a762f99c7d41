//! How scores over the vocabulary become choices: rules, top-k, sampling.
//!
//! The host looks at each hypothesis' history and states, per row, what is to be changed in its scores;
//! a backend applies the statements where the scores lie. The order of the rules is the caller's.

/// One change to the scores of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum LogitRule {
    /// Adds to the score of each id.
    Add(Vec<(u32, f32)>),
    /// Repetition penalty (Keskar et al. 2019): a score below 0 is multiplied by `penalty`, another divided.
    /// An id is listed once.
    Penalise {
        /// The ids, each once.
        ids: Vec<u32>,
        /// Above 1 to discourage.
        penalty: f32,
    },
    /// Sets the score of each id to minus infinity.
    Ban(Vec<u32>),
    /// Sets every other score to minus infinity and those of these ids to 0.
    Only(Vec<u32>),
    /// score + |score| · factor for each id (exponential decay length penalty); minus infinity stays as it is.
    Grow {
        /// The ids, each once.
        ids: Vec<u32>,
        /// How much of its magnitude a score gains.
        factor: f32,
    },
}

impl LogitRule {
    /// The ids that it names, as often as it does.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        let (pairs, ids): (&[_], &[_]) = match self {
            Self::Add(pairs) => (pairs, &[]),
            Self::Penalise { ids, .. }
            | Self::Ban(ids)
            | Self::Only(ids)
            | Self::Grow { ids, .. } => (&[], ids),
        };
        pairs.iter().map(|pair: &(u32, f32)| pair.0).chain(ids.iter().copied())
    }
}

/// When the log-softmax is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreOrder {
    /// log-softmax, then the rules: beam search of transformers (PARITY trap 47).
    NormaliseThenRules,
    /// log-softmax, the rules, and a second log-softmax (`renormalize_logits` in beam search).
    NormaliseRulesNormalise,
    /// The rules on logits, then log-softmax: greedy search and sampling.
    RulesThenNormalise,
}

/// The k best of each row, best first, equal scores in rising order of id; or k that were drawn, in the order of the
/// draws.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopK {
    /// Entries a row.
    pub k: usize,
    /// `[N, k]`
    pub ids: Vec<u32>,
    /// `[N, k]`; minus infinity where fewer than k ids are allowed.
    pub scores: Vec<f32>,
}

/// Which part of the distribution sampling draws from. Applied in the order of the fields,
/// each to the scores that the one before left, as transformers does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warp {
    /// Divides the scores; above 0.
    pub temperature: f32,
    /// Keeps scores not below the k-th best, ties included; 0 for all.
    pub top_k: usize,
    /// Keeps the smallest set of best ids whose probability reaches p (Holtzman et al. 2020); 1 for all.
    pub top_p: f32,
    /// Keeps ids with at least this share of the best one's probability; 0 for all.
    pub min_p: f32,
    /// Keeps the ids nearest to the expected information up to this mass (Meister et al. 2023); 1 for all.
    pub typical_p: f32,
    /// Drops probabilities below it (Hewitt et al. 2022); 0 for none.
    pub epsilon_cutoff: f32,
    /// Drops probabilities below min(eta, √eta · e^-entropy) (Hewitt et al. 2022); 0 for none.
    pub eta_cutoff: f32,
    /// So many ids each part leaves at least, the best it knows; above 0. Beam search needs some that do not end.
    pub min_keep: usize,
}

impl Default for Warp {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            epsilon_cutoff: 0.0,
            eta_cutoff: 0.0,
            min_keep: 1,
        }
    }
}

/// One drawn id a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampled {
    /// `[N]`
    pub ids: Vec<u32>,
    /// `[N]`: the log-probability of each under the warped distribution.
    pub scores: Vec<f32>,
}
