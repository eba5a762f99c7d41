//! The encoder.

use super::layer::{Layer, LayerShape};
use crate::{Result, checkpoint::Scope, plan::RecurrentPlan};
use seq2seq_core::{Lookup, Ragged, SeqBackend, Side, Stage};

/// Embedded tokens through layers that may read both ways.
pub(super) struct Encoder<B: SeqBackend> {
    tokens: B::Embedding,
    layers: Vec<Layer<B>>,
    dropout: f32,
}

impl<B: SeqBackend> Encoder<B> {
    pub(super) fn load(plan: &RecurrentPlan, scope: &Scope<'_, '_, B>) -> Result<Self> {
        let layer = |i: usize| {
            let shape = LayerShape {
                cell: plan.cell,
                inputs: if i == 0 { plan.embedding } else { plan.memory() },
                width: plan.encoder_width,
                bidirectional: plan.bidirectional,
            };
            Layer::load(shape, &scope.at("layers").at(i))
        };
        let embed = scope.at("embed");
        Ok(Self {
            tokens: embed.embedding("tokens", plan.source_vocab, plan.embedding)?,
            layers: (0..plan.layers).map(layer).collect::<Result<_>>()?,
            dropout: plan.dropout,
        })
    }

    /// N ids to the memory, `[N, C]`, and what each layer ended with.
    pub(super) fn forward(
        &self,
        backend: &B,
        ids: &[u32],
        rows: &Ragged,
    ) -> Result<(B::Tensor, Vec<B::Tensor>)> {
        let mut x = backend.embed(&[Lookup { table: &self.tokens, ids, scale: 1.0 }])?;
        backend.observe(Stage::Embedding(Side::Encoder), &x)?;
        let mut states = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x = backend.dropout(x, self.dropout)?;
            }
            let (y, state) = layer.forward(backend, &x, rows, None)?;
            x = y;
            backend.observe(Stage::Layer(Side::Encoder, i), &x)?;
            states.push(state);
        }
        Ok((x, states))
    }
}
