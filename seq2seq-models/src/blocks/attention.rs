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
use seq2seq_core::{
    AttentionSpec, Backend, Epilogue, Part as Columns, Precision, Ragged, SeqBackend,
};

/// Self-attention: over whole sequences, or over a cache that each pass extends.
pub(super) struct SelfAttention<B: SeqBackend> {
    around: Residual<B>,
    qkv: B::Linear,
    head_norms: Option<HeadNorms<B>>,
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
        let output = output(plan, &spec, scope)?;
        if let Position::Rotary(rotary) = &plan.embedding.position {
            spec.rotary = Some(rotary::rotary(rotary));
        }
        let around = Residual::load(plan.place, &plan.norm, plan.width, scope)?;
        let dropout = plan.dropout.attention_output;
        let head_norms =
            plan.attention.head_norm.then(|| HeadNorms::load(plan, scope)).transpose()?;
        Ok(Self { around, qkv, head_norms, output, spec, dropout })
    }

    pub(super) fn forward(
        &self,
        pass: &mut Pass<'_, B>,
        layer: usize,
        x: &B::Tensor,
    ) -> Result<B::Tensor> {
        let b = pass.backend;
        self.around.around(b, x, |x, residual| {
            let mut qkv = b.linear(x, &self.qkv, Epilogue::NONE)?;
            if let Some(norms) = &self.head_norms {
                qkv = norms.apply(b, &qkv, &self.spec)?;
            }
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

/// Norms over each head of queries and of keys (PARITY trap 83).
struct HeadNorms<B: Backend> {
    query: B::Norm,
    key: B::Norm,
}

impl<B: SeqBackend> HeadNorms<B> {
    fn load(plan: &StackPlan, scope: &Scope<'_, '_, B>) -> Result<Self> {
        let norm = |module| scope.norm(module, &plan.norm, plan.attention.head_dim);
        Ok(Self { query: norm("query_norm")?, key: norm("key_norm")? })
    }

    /// Of query | key | value the first two normalised.
    fn apply(&self, backend: &B, qkv: &B::Tensor, spec: &AttentionSpec) -> Result<B::Tensor> {
        let queries = spec.inner();
        let keys = queries + spec.kv_width();
        let columns = |columns| Columns { tensor: qkv, columns };
        let normalised = |part, norm| backend.norm(&backend.columns(&[columns(part)])?, norm);
        let query = normalised(0..queries, &self.query)?;
        let key = normalised(queries..keys, &self.key)?;
        let value = columns(keys..spec.qkv_width());
        Ok(backend.columns(&[Columns::all(&query), Columns::all(&key), value])?)
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
            output: output(plan, &spec, scope)?,
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

fn output<B: SeqBackend>(
    plan: &StackPlan,
    spec: &AttentionSpec,
    scope: &Scope<'_, '_, B>,
) -> Result<B::Linear> {
    let part = Part { name: "output", outputs: plan.width, bias: plan.attention.output_bias };
    scope.linear(spec.inner(), &[part])
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
