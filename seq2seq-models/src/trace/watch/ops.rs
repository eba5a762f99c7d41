//! Every operation is that of the backend inside.

use super::Watch;
use seq2seq_core::{
    AttentionSpec, Backend, BucketSpec, CacheSpec, CrossAttentionOps, DecoderOps, EncoderOps,
    Epilogue, Format, HostTensor, LinearSpec, LogitRule, Lookup, NormSpec, Part, Pool, Ragged,
    RecurrentOps, RecurrentSpec, Result, Sampled, ScoreOrder, SeqBackend, Stage, TopK, Warp,
};

/// The keys and values of the encoder's output in the layers of a decoder.
const MEMORY: &str = "decoder.memory";

impl<B: Backend> Backend for Watch<B> {
    type Tensor = B::Tensor;
    type Linear = B::Linear;
    type Norm = B::Norm;
    type Embedding = B::Embedding;

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn upload(&self, host: &HostTensor) -> Result<B::Tensor> {
        self.inner.upload(host)
    }

    fn download(&self, x: &B::Tensor) -> Result<Vec<f32>> {
        self.inner.download(x)
    }

    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<B::Linear> {
        self.inner.pack(spec, format)
    }

    fn linear(
        &self,
        x: &B::Tensor,
        layer: &B::Linear,
        epilogue: Epilogue<'_, B::Tensor>,
    ) -> Result<B::Tensor> {
        self.inner.linear(x, layer, epilogue)
    }

    fn embedding(&self, table: &HostTensor) -> Result<B::Embedding> {
        self.inner.embedding(table)
    }

    fn embed(&self, lookups: &[Lookup<'_, B::Embedding>]) -> Result<B::Tensor> {
        self.begin_pass();
        self.inner.embed(lookups)
    }

    fn norm_weights(&self, spec: &NormSpec) -> Result<B::Norm> {
        self.inner.norm_weights(spec)
    }

    fn norm(&self, x: &B::Tensor, norm: &B::Norm) -> Result<B::Tensor> {
        self.inner.norm(x, norm)
    }

    fn gather_rows(&self, x: &B::Tensor, rows: &[usize]) -> Result<B::Tensor> {
        self.inner.gather_rows(x, rows)
    }

    fn pool(&self, x: &B::Tensor, rows: &Ragged, pool: Pool) -> Result<B::Tensor> {
        self.inner.pool(x, rows, pool)
    }

    fn dropout(&self, x: B::Tensor, rate: f32) -> Result<B::Tensor> {
        self.inner.dropout(x, rate)
    }

    fn observe(&self, stage: Stage, x: &B::Tensor) -> Result<()> {
        self.note_stage(stage, x)
    }
}

impl<B: EncoderOps> EncoderOps for Watch<B> {
    type RelativeBias = B::RelativeBias;

    fn relative_bias(&self, table: &HostTensor, spec: BucketSpec) -> Result<B::RelativeBias> {
        self.inner.relative_bias(table, spec)
    }

    fn attend(
        &self,
        qkv: &B::Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&B::RelativeBias>,
    ) -> Result<B::Tensor> {
        if bias.is_none() {
            self.note_attention(qkv, rows, spec)?;
        }
        self.inner.attend(qkv, rows, spec, bias)
    }
}

impl<B: SeqBackend> DecoderOps for Watch<B> {
    type KvCache = B::KvCache;

    fn kv_cache(&self, spec: &CacheSpec) -> Result<B::KvCache> {
        self.inner.kv_cache(spec)
    }

    fn extend(&self, cache: &mut B::KvCache, rows: &Ragged) -> Result<()> {
        self.inner.extend(cache, rows)
    }

    fn attend_step(
        &self,
        qkv: &B::Tensor,
        rows: &Ragged,
        cache: &mut B::KvCache,
        layer: usize,
        spec: &AttentionSpec,
        bias: Option<&B::RelativeBias>,
    ) -> Result<B::Tensor> {
        self.inner.attend_step(qkv, rows, cache, layer, spec, bias)
    }

    fn reorder(&self, cache: &mut B::KvCache, parents: &[usize]) -> Result<()> {
        self.inner.reorder(cache, parents)
    }

    fn top_k(
        &self,
        logits: &B::Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
    ) -> Result<TopK> {
        let top = self.inner.top_k(logits, k, order, rules)?;
        self.note_choice(logits)?;
        Ok(top)
    }

    fn sample(
        &self,
        logits: &B::Tensor,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        uniforms: &[f32],
    ) -> Result<Sampled> {
        let sampled = self.inner.sample(logits, rules, warp, uniforms)?;
        self.note_choice(logits)?;
        Ok(sampled)
    }

    fn sample_k(
        &self,
        logits: &B::Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        seeds: &[u64],
    ) -> Result<TopK> {
        let top = self.inner.sample_k(logits, k, order, rules, warp, seeds)?;
        self.note_choice(logits)?;
        Ok(top)
    }
}

impl<B: SeqBackend> CrossAttentionOps for Watch<B> {
    type Memory = B::Memory;

    fn memory(&self, kv: &B::Tensor, rows: &Ragged, spec: &AttentionSpec) -> Result<B::Memory> {
        let memory = self.inner.memory(kv, rows, spec)?;
        self.note(|| MEMORY.into(), kv)?;
        Ok(memory)
    }

    fn cross_attend(
        &self,
        q: &B::Tensor,
        rows: &Ragged,
        memory: &B::Memory,
        sources: &[usize],
        spec: &AttentionSpec,
        weights: Option<&mut Vec<f32>>,
    ) -> Result<B::Tensor> {
        self.inner.cross_attend(q, rows, memory, sources, spec, weights)
    }
}

impl<B: SeqBackend> RecurrentOps for Watch<B> {
    type Recurrent = B::Recurrent;
    type Additive = B::Additive;
    type AdditiveMemory = B::AdditiveMemory;

    fn recurrent(&self, spec: &RecurrentSpec, format: Format) -> Result<B::Recurrent> {
        self.inner.recurrent(spec, format)
    }

    fn recur(
        &self,
        x: &B::Tensor,
        rows: &Ragged,
        layer: &B::Recurrent,
        state: Option<&B::Tensor>,
    ) -> Result<(B::Tensor, B::Tensor)> {
        self.inner.recur(x, rows, layer, state)
    }

    fn columns(&self, parts: &[Part<'_, B::Tensor>]) -> Result<B::Tensor> {
        self.inner.columns(parts)
    }

    fn stack_rows(&self, parts: &[&B::Tensor]) -> Result<B::Tensor> {
        self.inner.stack_rows(parts)
    }

    fn additive(&self, v: &HostTensor) -> Result<B::Additive> {
        self.inner.additive(v)
    }

    fn additive_memory(
        &self,
        keys: &B::Tensor,
        values: &B::Tensor,
        rows: &Ragged,
    ) -> Result<B::AdditiveMemory> {
        let memory = self.inner.additive_memory(keys, values, rows)?;
        self.note(|| MEMORY.into(), keys)?;
        Ok(memory)
    }

    fn additive_attend(
        &self,
        q: &B::Tensor,
        rows: &Ragged,
        v: &B::Additive,
        memory: &B::AdditiveMemory,
        sources: &[usize],
        weights: Option<&mut Vec<f32>>,
    ) -> Result<B::Tensor> {
        self.inner.additive_attend(q, rows, v, memory, sources, weights)
    }
}
