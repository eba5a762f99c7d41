//! How scores over the vocabulary become choices: rules, top-k, sampling.
//!
//! The host looks at each hypothesis' history and states, per row, what is to be changed in its scores;
//! a backend applies the statements where the scores lie. The order of the rules is the caller's.

/// One change to the scores of one row.
///
/// ```
/// use seq2seq_core::{LogitRule, reference::rules::apply};
///
/// // What this row may not say, and what it is to say less often; the order counts.
/// let rules = [
///     LogitRule::Penalise { ids: vec![0, 1], penalty: 2.0 },
///     LogitRule::Ban(vec![3]),
///     LogitRule::Add(vec![(2, 0.25)]),
/// ];
/// let mut scores = [2.0, -1.0, 0.5, 9.0];
/// apply(&rules, &mut scores);
/// assert_eq!(scores, [1.0, -2.0, 0.75, f32::NEG_INFINITY]);
///
/// // The end of a text, more likely the longer it is.
/// apply(&[LogitRule::Grow { ids: vec![1], factor: 0.5 }], &mut scores);
/// assert_eq!(scores[1], -1.0);
/// assert!(rules[0].ids().eq([0, 1]));
/// ```
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
///
/// ```
/// use seq2seq_core::{Backend, DecoderOps, HostTensor, LogitRule, ScoreOrder, reference::Reference};
///
/// let b = Reference;
/// let logits = b.upload(&HostTensor::from_f32(vec![1, 3], &[1.0, 1.0, 1.0])?)?;
/// let best = |order| b.top_k(&logits, 1, order, &[vec![LogitRule::Ban(vec![0])]]);
/// let probability = |order| best(order).map(|top| top.scores[0].exp());
/// // In beam search a ban leaves the scores of the others as they were, at 1/3; a second softmax, or one behind the
/// // rules, shares out what the banned id had.
/// assert!((probability(ScoreOrder::NormaliseThenRules)? - 1.0 / 3.0).abs() < 1e-6);
/// assert!((probability(ScoreOrder::NormaliseRulesNormalise)? - 0.5).abs() < 1e-6);
/// assert!((probability(ScoreOrder::RulesThenNormalise)? - 0.5).abs() < 1e-6);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{Backend, DecoderOps, HostTensor, ScoreOrder, reference::Reference};
///
/// let b = Reference;
/// let logits = b.upload(&HostTensor::from_f32(vec![2, 4], &[0.0, 3.0, 1.0, 3.0, 9.0, 0.0, 0.0, 0.0])?)?;
/// let best = b.top_k(&logits, 2, ScoreOrder::RulesThenNormalise, &[])?;
/// assert_eq!(best.ids, [1, 3, 0, 1]); // two a row; of equal ones the lower comes first
/// for (ids, scores) in best.ids.chunks(best.k).zip(best.scores.chunks(best.k)) {
///     println!("{} with probability {}", ids[0], scores[0].exp());
/// }
/// assert_eq!(best.scores[0], best.scores[1]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{Warp, reference::sample::apply};
///
/// let left = |warp: Warp| {
///     // Probabilities of 1/2, 1/4, 1/8 and 1/8.
///     let mut scores = [0.5f32, 0.25, 0.125, 0.125].map(f32::ln);
///     apply(&warp, &mut scores);
///     scores.map(|score| score > f32::NEG_INFINITY)
/// };
/// assert_eq!(left(Warp::default()), [true; 4]); // draws from all that there is
/// assert_eq!(left(Warp { top_k: 1, ..Warp::default() }), [true, false, false, false]);
/// assert_eq!(left(Warp { top_p: 0.7, ..Warp::default() }), [true, true, false, false]);
/// // Beam search wants more than one, whatever the distribution is.
/// assert_eq!(left(Warp { top_p: 0.2, min_keep: 2, ..Warp::default() }), [true, true, false, false]);
/// ```
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
///
/// ```
/// use seq2seq_core::{Backend, DecoderOps, HostTensor, Sampled, Warp, reference::Reference};
///
/// let b = Reference;
/// // Probabilities of 1/4 and 3/4 in both rows; whoever asks for draws brings the random numbers.
/// let quarter = [0.25f32.ln(), 0.75f32.ln()];
/// let logits = b.upload(&HostTensor::from_f32(vec![2, 2], &[quarter, quarter].concat())?)?;
/// let Sampled { ids, scores } = b.sample(&logits, &[], &Warp::default(), &[0.2, 0.3])?;
/// assert_eq!(ids, [0, 1]);
/// assert!((scores[0].exp() - 0.25).abs() < 1e-6);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampled {
    /// `[N]`
    pub ids: Vec<u32>,
    /// `[N]`: the log-probability of each under the warped distribution.
    pub scores: Vec<f32>,
}
