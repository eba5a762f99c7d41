//! The choice of one id a row.

use super::DecoderOps;
use crate::{LogitRule, Result, Sampled, ScoreOrder, Warp};

/// How [`DecoderOps::choose`] comes by an id.
///
/// ```
/// use seq2seq_core::{Backend, DecoderOps, HostTensor, Pick, reference::Reference};
///
/// let b = Reference;
/// let logits = b.upload(&HostTensor::from_f32(vec![2, 3], &[0.1, 0.9, 0.5, 2.0, 1.0, 0.0])?)?;
/// let chosen = b.choose(&logits, &[], &Pick::Best)?;
/// // What follows can be asked for before the ids are: a device need not wait for its host.
/// let table = b.embedding(&HostTensor::from_f32(vec![3, 1], &[10.0, 20.0, 30.0])?)?;
/// let x = b.embed_chosen((&table, 1.0), &chosen, &[])?;
/// assert_eq!(b.chosen(&chosen)?.ids, [1, 0]);
/// assert_eq!(b.download(&x)?, [20.0, 10.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub enum Pick<'a> {
    /// The best: [`top_k`](DecoderOps::top_k) of one, after the rules, with its log-probability.
    Best,
    /// A draw: [`sample`](DecoderOps::sample).
    Draw {
        /// Which part of the distribution.
        warp: &'a Warp,
        /// A number in [0, 1) for each row.
        uniforms: &'a [f32],
    },
}

impl Pick<'_> {
    /// The ids and their log-probabilities, by the operations of `backend` that wait for them: what
    /// [`choose`](DecoderOps::choose) is where ids are the host's as soon as they are chosen.
    pub fn at_once<B: DecoderOps>(
        &self,
        backend: &B,
        logits: &B::Tensor,
        rules: &[Vec<LogitRule>],
    ) -> Result<Sampled> {
        match *self {
            Self::Best => {
                let best = backend.top_k(logits, 1, ScoreOrder::RulesThenNormalise, rules)?;
                Ok(Sampled { ids: best.ids, scores: best.scores })
            }
            Self::Draw { warp, uniforms } => backend.sample(logits, rules, warp, uniforms),
        }
    }
}
