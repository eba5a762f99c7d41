//! The choice of one id a row.

use super::DecoderOps;
use crate::{LogitRule, Result, Sampled, ScoreOrder, Warp};

/// How [`DecoderOps::choose`] comes by an id.
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
