//! How a decoder's rows come by the source.

use crate::{
    Result,
    checkpoint::{Part as Matrix, Scope},
    plan::{RecurrentAttention, RecurrentPlan},
};
use seq2seq_core::{
    Activation, AttentionSpec, Epilogue, Part, Precision, Ragged, SeqBackend, Stage,
};

/// Attention, and what is made of its context and the state.
pub(super) struct Attention<B: SeqBackend> {
    score: Score<B>,
    output: B::Linear,
}

enum Score<B: SeqBackend> {
    /// Query · memory, the query projected first where there is a layer for it.
    Product { query: Option<B::Linear>, spec: AttentionSpec },
    /// v · tanh(query + key)
    Additive { query: B::Linear, key: B::Linear, v: B::Additive },
}

/// The encoder's output, laid out for the score.
pub(super) enum Memory<B: SeqBackend> {
    Product(B::Memory),
    Additive(B::AdditiveMemory),
}

/// Which rows ask which sources, and where the weights go.
pub(super) struct Asking<'a> {
    pub(super) rows: &'a Ragged,
    pub(super) sources: &'a [usize],
    pub(super) weights: Option<&'a mut Vec<f32>>,
}

impl<B: SeqBackend> Attention<B> {
    /// None for a decoder without attention.
    pub(super) fn load(plan: &RecurrentPlan, scope: &Scope<'_, '_, B>) -> Result<Option<Self>> {
        let (memory, width) = (plan.memory(), plan.width);
        let linear = |name, bias, inputs, outputs| {
            scope.linear(inputs, &[Matrix { name, outputs, bias: scope.holds(bias) }])
        };
        let query = |outputs| linear("query", "query.bias", width, outputs);
        let spec = AttentionSpec {
            heads: 1,
            kv_heads: 1,
            head_dim: memory,
            scale: 1.0,
            causal: false,
            rotary: None,
            dropout: 0.0,
            precision: Precision::F32,
        };
        let score = match plan.attention {
            RecurrentAttention::None => return Ok(None),
            RecurrentAttention::LuongDot => Score::Product { query: None, spec },
            RecurrentAttention::LuongGeneral => {
                Score::Product { query: Some(query(memory)?), spec }
            }
            RecurrentAttention::Bahdanau { width } | RecurrentAttention::LuongConcat { width } => {
                Score::Additive {
                    query: query(width)?,
                    key: linear("key", "key.bias", memory, width)?,
                    v: scope.additive("v", width)?,
                }
            }
        };
        let output = linear("output", "output.bias", memory + width, width)?;
        Ok(Some(Self { score, output }))
    }

    /// From the encoder's rows, once for a whole decoding.
    pub(super) fn memory(
        &self,
        backend: &B,
        source: &B::Tensor,
        rows: &Ragged,
    ) -> Result<Memory<B>> {
        Ok(match &self.score {
            Score::Product { spec, .. } => {
                let both = backend.columns(&[Part::all(source), Part::all(source)])?;
                Memory::Product(backend.memory(&both, rows, spec)?)
            }
            Score::Additive { key, .. } => {
                let keys = backend.linear(source, key, Epilogue::NONE)?;
                Memory::Additive(backend.additive_memory(&keys, source, rows)?)
            }
        })
    }

    /// The context that each row of `state` (`[N, M]`) asks for, `[N, C]`.
    pub(super) fn context(
        &self,
        backend: &B,
        state: &B::Tensor,
        memory: &Memory<B>,
        asking: Asking<'_>,
    ) -> Result<B::Tensor> {
        let Asking { rows, sources, weights } = asking;
        match (&self.score, memory) {
            (Score::Product { query, spec }, Memory::Product(memory)) => {
                let projected = match query {
                    Some(layer) => Some(backend.linear(state, layer, Epilogue::NONE)?),
                    None => None,
                };
                let q = projected.as_ref().unwrap_or(state);
                Ok(backend.cross_attend(q, rows, memory, sources, spec, weights)?)
            }
            (Score::Additive { query, v, .. }, Memory::Additive(memory)) => {
                let q = backend.linear(state, query, Epilogue::NONE)?;
                Ok(backend.additive_attend(&q, rows, v, memory, sources, weights)?)
            }
            _ => Err(crate::Error::input("a memory of another kind of attention")),
        }
    }

    /// tanh(W \[context; state\])
    pub(super) fn output(
        &self,
        backend: &B,
        context: &B::Tensor,
        state: &B::Tensor,
    ) -> Result<B::Tensor> {
        let both = backend.columns(&[Part::all(context), Part::all(state)])?;
        let y = backend.linear(&both, &self.output, Epilogue::activation(Activation::Tanh))?;
        backend.observe(Stage::Attention, &y)?;
        Ok(y)
    }
}
