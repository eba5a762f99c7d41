//! The attention halves of a block.

use super::{
    Residual,
    block::{Cross, Pass},
    rotary,
};
use crate::{
    Result,
    checkpoint::{Part, Scope},
    plan::{Position, StackPlan},
};
use seq2seq_core::{AttentionSpec, Epilogue, Precision, Ragged, SeqBackend};

/// Self-attention: over whole sequences, or over a cache that each pass extends.
pub(super) struct SelfAttention<B: SeqBackend> {
    around: Residual<B>,
    qkv: B::Linear,
    output: B::Linear,
    spec: AttentionSpec,
    /// Of what is added to the residual, in training.
    dropout: f32,
}

impl<B: SeqBackend> SelfAttention<B> {
    pub(super) fn load(plan: &StackPlan, layer: usize, scope: &Scope<'_, '_, B>) -> Result<Self> {
        let mut spec = spec(plan, scope.precision());
        if plan.attention.scale_by_layer {
            spec.scale /= (layer + 1) as f32; // PARITY trap 36
        }
        let bias = plan.attention.bias;
        let part = |name, outputs| Part { name, outputs, bias };
        let qkv = match scope.knows("qkv") {
            true => scope.linear(plan.width, &[part("qkv", spec.qkv_width())])?,
            false => {
                let (q, kv) = (spec.inner(), spec.kv_width());
                scope.linear(plan.width, &[part("query", q), part("key", kv), part("value", kv)])?
            }
        };
        let output = scope.linear(spec.inner(), &[part("output", plan.width)])?;
        if let Position::Rotary(rotary) = &plan.embedding.position {
            spec.rotary = Some(rotary::rotary(rotary));
        }
        let around = Residual::load(plan.place, &plan.norm, plan.width, scope)?;
        let dropout = plan.dropout.attention_output;
        Ok(Self { around, qkv, output, spec, dropout })
    }

    pub(super) fn forward(
        &self,
        pass: &mut Pass<'_, B>,
        layer: usize,
        x: &B::Tensor,
    ) -> Result<B::Tensor> {
        let b = pass.backend;
        self.around.around(b, x, |x, residual| {
            let qkv = b.linear(x, &self.qkv, Epilogue::NONE)?;
            let mixed = match &mut pass.cache {
                None => b.attend(&qkv, pass.rows, &self.spec, pass.bias)?,
                Some(cache) => {
                    b.attend_step(&qkv, pass.rows, cache, layer, &self.spec, pass.bias)?
                }
            };
            let epilogue = Epilogue::residual(residual).with_dropout(self.dropout);
            Ok(b.linear(&mixed, &self.output, epilogue)?)
        })
    }
}

/// Attention of a decoder's rows to the encoder's output.
pub(super) struct CrossAttention<B: SeqBackend> {
    around: Residual<B>,
    query: B::Linear,
    key_value: B::Linear,
    output: B::Linear,
    spec: AttentionSpec,
    /// Of what is added to the residual, in training.
    dropout: f32,
}

impl<B: SeqBackend> CrossAttention<B> {
    pub(super) fn load(
        plan: &StackPlan,
        source_width: usize,
        scope: &Scope<'_, '_, B>,
    ) -> Result<Self> {
        // No causality, no positions: not even in T5 (PARITY trap 2).
        let spec = AttentionSpec { causal: false, ..spec(plan, scope.precision()) };
        let part = |name, outputs| Part { name, outputs, bias: plan.attention.bias };
        let kv = spec.kv_width();
        Ok(Self {
            query: scope.linear(plan.width, &[part("query", spec.inner())])?,
            key_value: scope.linear(source_width, &[part("key", kv), part("value", kv)])?,
            output: scope.linear(spec.inner(), &[part("output", plan.width)])?,
            around: Residual::load(plan.place, &plan.norm, plan.width, scope)?,
            spec,
            dropout: plan.dropout.attention_output,
        })
    }

    /// Keys and values of the encoder's output, once for the whole decoding.
    pub(super) fn memory(
        &self,
        backend: &B,
        source: &B::Tensor,
        rows: &Ragged,
    ) -> Result<B::Memory> {
        let kv = backend.linear(source, &self.key_value, Epilogue::NONE)?;
        Ok(backend.memory(&kv, rows, &self.spec)?)
    }

    pub(super) fn forward(
        &self,
        backend: &B,
        rows: &Ragged,
        cross: &mut Cross<'_, B>,
        layer: usize,
        x: &B::Tensor,
    ) -> Result<B::Tensor> {
        self.around.around(backend, x, |x, residual| {
            let q = backend.linear(x, &self.query, Epilogue::NONE)?;
            let weights = cross.weights.as_mut().and_then(|w| w.get_mut(layer));
            let (memory, sources) = (&cross.memories[layer], cross.sources);
            let mixed = backend.cross_attend(&q, rows, memory, sources, &self.spec, weights)?;
            let epilogue = Epilogue::residual(residual).with_dropout(self.dropout);
            Ok(backend.linear(&mixed, &self.output, epilogue)?)
        })
    }
}

fn spec(plan: &StackPlan, precision: Precision) -> AttentionSpec {
    let a = &plan.attention;
    AttentionSpec {
        heads: a.heads,
        kv_heads: a.kv_heads,
        head_dim: a.head_dim,
        scale: a.scale,
        causal: a.causal,
        rotary: None,
        dropout: plan.dropout.attention,
        precision,
    }
}
