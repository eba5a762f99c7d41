//! One layer of an encoder or a decoder.

use super::{
    attention::{CrossAttention, SelfAttention},
    feed_forward::FeedForward,
};
use crate::{Result, checkpoint::Scope, plan::StackPlan};
use seq2seq_core::{Ragged, SeqBackend};

/// What one pass over a stack reads, and changes, beside its rows.
pub(crate) struct Pass<'a, B: SeqBackend> {
    pub(crate) backend: &'a B,
    /// How the rows divide into sequences.
    pub(crate) rows: &'a Ragged,
    /// The stack's bias by distance.
    pub(crate) bias: Option<&'a B::RelativeBias>,
    /// Where the rows continue what was seen before; whole sequences otherwise.
    pub(crate) cache: Option<&'a mut B::KvCache>,
    /// What a decoder attends to beside itself.
    pub(crate) cross: Option<Cross<'a, B>>,
}

/// The encoder's output as the layers of a decoder see it.
pub(crate) struct Cross<'a, B: SeqBackend> {
    /// One a layer.
    pub(crate) memories: &'a [B::Memory],
    /// The source of each sequence.
    pub(crate) sources: &'a [usize],
    /// Where the probabilities are appended to, one list a layer.
    pub(crate) weights: Option<&'a mut [Vec<f32>]>,
}

/// Self-attention, cross-attention in decoders that have it, feed-forward: pre- or post-norm, as the plan says.
pub(crate) struct Block<B: SeqBackend> {
    attention: SelfAttention<B>,
    cross: Option<CrossAttention<B>>,
    feed_forward: FeedForward<B>,
}

impl<B: SeqBackend> Block<B> {
    pub(crate) fn load(plan: &StackPlan, layer: usize, scope: &Scope<'_, '_, B>) -> Result<Self> {
        Ok(Self {
            attention: SelfAttention::load(plan, layer, &scope.at("attention"))?,
            cross: plan
                .cross
                .map(|source_width| CrossAttention::load(plan, source_width, &scope.at("cross")))
                .transpose()?,
            feed_forward: FeedForward::load(plan, &scope.at("ffn"))?,
        })
    }

    /// Keys and values of the encoder's output; `None` without cross-attention.
    pub(crate) fn memory(
        &self,
        backend: &B,
        source: &B::Tensor,
        rows: &Ragged,
    ) -> Result<Option<B::Memory>> {
        self.cross.as_ref().map(|cross| cross.memory(backend, source, rows)).transpose()
    }

    /// `[N, M]` to `[N, M]`.
    pub(crate) fn forward(
        &self,
        pass: &mut Pass<'_, B>,
        layer: usize,
        x: &B::Tensor,
    ) -> Result<B::Tensor> {
        let mut y = self.attention.forward(pass, layer, x)?;
        if let (Some(attention), Some(cross)) = (&self.cross, &mut pass.cross) {
            y = attention.forward(pass.backend, pass.rows, cross, layer, &y)?;
        }
        self.feed_forward.forward(pass.backend, &y)
    }
}
