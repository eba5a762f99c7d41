//! Attention, its cache, and the choice of the next token.

use crate::ops::{attention, cache, choose, cross, embed, pool, sample, sample_k, top_k};
use crate::{Chosen, Cuda, Embedding, KvCache, Memory, RelativeBias, Tensor};
use seq2seq_core::{
    AttentionSpec, BucketSpec, CacheSpec, CrossAttentionOps, DecoderOps, EncoderOps, HostTensor,
    LogitRule, Lookup, Pick, Picked, Ragged, Result, Sampled, ScoreOrder, TopK, Warp,
};

impl EncoderOps for Cuda {
    type RelativeBias = RelativeBias;

    fn relative_bias(&self, table: &HostTensor, spec: BucketSpec) -> Result<RelativeBias> {
        RelativeBias::new(self, table, spec)
    }

    fn attend(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias>,
    ) -> Result<Tensor> {
        attention::attend(self, qkv, rows, spec, bias)
    }
}

impl DecoderOps for Cuda {
    type KvCache = KvCache;
    type Chosen = Chosen;

    fn kv_cache(&self, spec: &CacheSpec) -> Result<KvCache> {
        cache::kv_cache(spec)
    }

    fn extend(&self, cache: &mut KvCache, rows: &Ragged) -> Result<()> {
        cache::extend(self, cache, rows)
    }

    fn attend_step(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        cache: &mut KvCache,
        layer: usize,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias>,
    ) -> Result<Tensor> {
        cache::attend_step(self, (qkv, rows), (cache, layer), spec, bias)
    }

    fn reorder(&self, cache: &mut KvCache, parents: &[usize]) -> Result<()> {
        cache::reorder(cache, parents)
    }

    fn top_k(
        &self,
        logits: &Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
    ) -> Result<TopK> {
        top_k::top_k(self, logits, k, order, rules)
    }

    fn sample(
        &self,
        logits: &Tensor,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        uniforms: &[f32],
    ) -> Result<Sampled> {
        sample::sample(self, logits, (rules, uniforms), warp)
    }

    fn sample_k(
        &self,
        logits: &Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        seeds: &[u64],
    ) -> Result<TopK> {
        sample_k::sample_k(self, logits, (k, order), (rules, seeds), warp)
    }

    fn chooses_ahead(&self) -> bool {
        self.goes_ahead()
    }

    fn choose(&self, logits: &Tensor, rules: &[Vec<LogitRule>], pick: &Pick<'_>) -> Result<Chosen> {
        choose::choose(self, logits, rules, pick)
    }

    fn chosen(&self, chosen: &Chosen) -> Result<Picked> {
        choose::chosen(chosen)
    }

    fn embed_chosen(
        &self,
        table: (&Embedding, f32),
        chosen: &Chosen,
        others: &[Lookup<'_, Embedding>],
    ) -> Result<Tensor> {
        embed::embed_chosen(self, table, chosen, others)
    }

    fn reorder_chosen(&self, cache: &mut KvCache, chosen: &Chosen) -> Result<()> {
        cache::reorder_chosen(cache, chosen)
    }

    fn gather_chosen(&self, x: &Tensor, chosen: &Chosen) -> Result<Option<Tensor>> {
        pool::gather_chosen(self, x, chosen)
    }
}

impl CrossAttentionOps for Cuda {
    type Memory = Memory;

    fn memory(&self, kv: &Tensor, rows: &Ragged, spec: &AttentionSpec) -> Result<Memory> {
        cross::memory(self, kv, rows, spec)
    }

    fn cross_attend(
        &self,
        q: &Tensor,
        rows: &Ragged,
        memory: &Memory,
        sources: &[usize],
        spec: &AttentionSpec,
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor> {
        cross::cross_attend(self, (q, rows), (memory, sources), spec, weights)
    }
}
