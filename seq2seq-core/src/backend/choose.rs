//! The choice of ids that the host need not know before it asks for what reads them.

mod beams;

pub use beams::{Beams, Continued};

use super::DecoderOps;
use crate::{LogitRule, Result, Sampled, ScoreOrder, TopK, Warp};

/// How [`DecoderOps::choose`] comes by ids.
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
    /// The best of each row, and which of them a beam search goes on with.
    Beams(Beams<'a>),
}

/// What was chosen, as the host knows it.
///
/// ```
/// use seq2seq_core::{Backend, DecoderOps, HostTensor, Pick, Picked, reference::Reference};
///
/// let b = Reference;
/// let logits = b.upload(&HostTensor::from_f32(vec![2, 3], &[0.1, 0.9, 0.5, 2.0, 1.0, 0.0])?)?;
/// let picked: Picked = b.chosen(&b.choose(&logits, &[], &Pick::Best)?)?;
/// // Each hypothesis goes on with the id that was chosen for it.
/// assert_eq!((picked.next_ids(), picked.parents()), (&[1, 0][..], None));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Picked {
    /// `[N]`; of [`Pick::Beams`] `[N, k]`, the best of each row first.
    pub ids: Vec<u32>,
    /// The log-probability of each.
    pub scores: Vec<f32>,
    /// The hypotheses of the next step, of [`Pick::Beams`]. Otherwise each goes on with its id.
    pub continued: Option<Continued>,
}

impl Picked {
    /// The id that each hypothesis of the next step begins it with.
    pub fn next_ids(&self) -> &[u32] {
        self.continued.as_ref().map_or(&self.ids, |next| &next.ids)
    }

    /// The hypothesis that each of the next step continues; none where each continues itself.
    pub fn parents(&self) -> Option<&[usize]> {
        self.continued.as_ref().map(|next| &next.parents[..])
    }
}

impl From<Sampled> for Picked {
    fn from(Sampled { ids, scores }: Sampled) -> Self {
        Self { ids, scores, continued: None }
    }
}

impl Pick<'_> {
    /// What is chosen by the operations of `backend` that wait for it: what [`choose`](DecoderOps::choose) is where ids are the
    /// host's as soon as they are chosen.
    pub fn at_once<B: DecoderOps>(
        &self,
        backend: &B,
        logits: &B::Tensor,
        rules: &[Vec<LogitRule>],
    ) -> Result<Picked> {
        match *self {
            Self::Best => {
                let best = backend.top_k(logits, 1, ScoreOrder::RulesThenNormalise, rules)?;
                Ok(Picked { ids: best.ids, scores: best.scores, continued: None })
            }
            Self::Draw { warp, uniforms } => {
                Ok(backend.sample(logits, rules, warp, uniforms)?.into())
            }
            Self::Beams(beams) => {
                super::check::beams(logits, rules, &beams)?;
                let best = backend.top_k(logits, beams.k, beams.order, rules)?;
                let continued = Some(beams.continued(&best));
                let TopK { ids, scores, .. } = best;
                Ok(Picked { ids, scores, continued })
            }
        }
    }
}
