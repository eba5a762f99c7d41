//! An encoder or a decoder.

use crate::{
    Error, Result,
    blocks::{Block, Cross, Embedding, Pass, Scratch, Tokens},
    checkpoint::Scope,
    plan::StackPlan,
};
use seq2seq_core::{BucketSpec, CacheSpec, Precision, Ragged, SeqBackend, Side, Stage};

/// Embedded tokens through L blocks.
///
/// One pass serves whole sequences, causal or not, and, where it is given a cache, the next rows of each hypothesis.
pub(crate) struct Stack<B: SeqBackend> {
    embedding: Embedding<B>,
    /// T5's bias: one for the stack, used by every block (PARITY trap 2).
    bias: Option<B::RelativeBias>,
    blocks: Vec<Block<B>>,
    norm: Option<B::Norm>,
    plan: StackPlan,
    /// Of its attentions.
    precision: Precision,
}

/// Where a decoder's pass continues, and what it attends to; for whole sequences of a lone stack, nothing.
pub(crate) struct Context<'a, B: SeqBackend> {
    /// Keys and values of what came before.
    pub(crate) cache: Option<&'a mut B::KvCache>,
    /// The encoder's output.
    pub(crate) cross: Option<Cross<'a, B>>,
}

impl<B: SeqBackend> Default for Context<'_, B> {
    fn default() -> Self {
        Self { cache: None, cross: None }
    }
}

impl<B: SeqBackend> Stack<B> {
    pub(crate) fn load(plan: &StackPlan, scope: &Scope<'_, '_, B>) -> Result<Self> {
        let bias = |spec: BucketSpec| {
            let table = scope.table("relative_bias", spec.buckets, plan.attention.heads)?;
            Ok::<_, Error>(scope.backend().relative_bias(&table, spec)?)
        };
        let layers = scope.at("layers");
        Ok(Self {
            embedding: Embedding::load(plan, &scope.at("embed"))?,
            bias: plan.attention.relative_bias.map(bias).transpose()?,
            blocks: (0..plan.layers)
                .map(|i| Block::load(plan, i, &layers.at(i)))
                .collect::<Result<_>>()?,
            norm: plan
                .final_norm
                .then(|| scope.norm("norm", &plan.norm, plan.width))
                .transpose()?,
            plan: plan.clone(),
            precision: scope.precision(),
        })
    }

    pub(crate) fn plan(&self) -> &StackPlan {
        &self.plan
    }

    fn side(&self) -> Side {
        if self.plan.attention.causal { Side::Decoder } else { Side::Encoder }
    }

    /// The cache of a decoding.
    pub(crate) fn cache(
        &self,
        backend: &B,
        sequences: usize,
        beams: usize,
        capacity: usize,
    ) -> Result<B::KvCache> {
        let a = &self.plan.attention;
        let (layers, kv_heads, head_dim) = (self.blocks.len(), a.kv_heads, a.head_dim);
        let precision = self.precision;
        let spec = CacheSpec { layers, kv_heads, head_dim, sequences, beams, capacity, precision };
        Ok(backend.kv_cache(&spec)?)
    }

    /// The encoder's output as each layer of this decoder sees it.
    pub(crate) fn memories(
        &self,
        backend: &B,
        source: &B::Tensor,
        rows: &Ragged,
    ) -> Result<Vec<B::Memory>> {
        self.blocks
            .iter()
            .filter_map(|block| block.memory(backend, source, rows).transpose())
            .collect()
    }

    /// N ids to `[N, M]`.
    pub(crate) fn forward(
        &self,
        backend: &B,
        tokens: &Tokens<'_, B>,
        context: Context<'_, B>,
        scratch: &mut Scratch,
    ) -> Result<B::Tensor> {
        let mut x = self.embedding.forward(backend, tokens, scratch)?;
        backend.observe(Stage::Embedding(self.side()), &x)?;
        let Context { cache, cross } = context;
        let mut pass = Pass { backend, rows: tokens.rows, bias: self.bias.as_ref(), cache, cross };
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(&mut pass, layer, &x)?;
            backend.observe(Stage::Layer(self.side(), layer), &x)?;
        }
        let x = match &self.norm {
            Some(norm) => {
                let x = backend.norm(&x, norm)?;
                backend.observe(Stage::Norm(self.side()), &x)?;
                x
            }
            None => x,
        };
        Ok(backend.dropout(x, self.plan.dropout.last)?)
    }
}
