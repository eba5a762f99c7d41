//! The traits of `seq2seq-core`, each method one function of `ops`.

use crate::ops::{
    additive, attention, cache, columns, cross, embed, linear, norm, pool, recurrent, sample,
    sample_k, top_k, windows,
};
use crate::{
    Additive, AdditiveMemory, Cpu, Embedding, KvCache, Linear, Memory, Norm, Recurrent,
    RelativeBias, Tensor,
};
use seq2seq_core::{
    AttentionSpec, Backend, BucketSpec, CacheSpec, ConvolutionOps, CrossAttentionOps, DecoderOps,
    EncoderOps, Epilogue, Format, Grid, HostTensor, LinearSpec, LogitRule, Lookup, NormSpec, Part,
    Pick, Picked, Pool, Ragged, RecurrentOps, RecurrentSpec, Result, Sampled, ScoreOrder, TopK,
    Warp, Windows,
};

impl Backend for Cpu {
    type Tensor = Tensor;
    type Linear = Linear;
    type Norm = Norm;
    type Embedding = Embedding;

    fn describe(&self) -> String {
        let (threads, isa) = (self.thread_count(), self.isa());
        let plural = if threads == 1 { "" } else { "s" };
        format!("cpu ({isa}, {threads} thread{plural})")
    }

    fn upload(&self, host: &HostTensor) -> Result<Tensor> {
        embed::upload(self, host)
    }

    fn download(&self, x: &Tensor) -> Result<Vec<f32>> {
        Ok(embed::download(x))
    }

    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<Linear> {
        linear::pack(self.threads(), self.isa(), spec, format)
    }

    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: Epilogue<'_, Tensor>) -> Result<Tensor> {
        linear::linear(self.threads(), x, layer, epilogue)
    }

    fn feed_forward(
        &self,
        x: &Tensor,
        layers: [&Linear; 2],
        epilogues: [Epilogue<'_, Tensor>; 2],
    ) -> Result<Tensor> {
        linear::feed_forward(self.threads(), x, layers, epilogues)
    }

    fn embedding(&self, table: &HostTensor) -> Result<Embedding> {
        embed::embedding(table)
    }

    fn embed(&self, lookups: &[Lookup<'_, Embedding>]) -> Result<Tensor> {
        embed::embed(self, lookups)
    }

    fn norm_weights(&self, spec: &NormSpec) -> Result<Norm> {
        norm::norm_weights(spec)
    }

    fn norm(&self, x: &Tensor, norm: &Norm) -> Result<Tensor> {
        norm::norm(self, x, norm)
    }

    fn gather_rows(&self, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        pool::gather_rows(self, x, rows)
    }

    fn pool(&self, x: &Tensor, rows: &Ragged, pool: Pool) -> Result<Tensor> {
        pool::pool(self, x, rows, pool)
    }
}

impl EncoderOps for Cpu {
    type RelativeBias = RelativeBias;

    fn relative_bias(&self, table: &HostTensor, spec: BucketSpec) -> Result<RelativeBias> {
        RelativeBias::new(table, &spec)
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

impl DecoderOps for Cpu {
    type KvCache = KvCache;
    type Chosen = Picked;

    fn kv_cache(&self, spec: &CacheSpec) -> Result<KvCache> {
        cache::kv_cache(self, spec)
    }

    fn extend(&self, cache: &mut KvCache, rows: &Ragged) -> Result<()> {
        cache::extend(cache, rows)
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
        sample_k::sample_k(self, logits, k, order, (rules, seeds), warp)
    }

    fn choose(&self, logits: &Tensor, rules: &[Vec<LogitRule>], pick: &Pick<'_>) -> Result<Picked> {
        pick.at_once(self, logits, rules)
    }

    fn chosen(&self, chosen: &Picked) -> Result<Picked> {
        Ok(chosen.clone())
    }
}

impl CrossAttentionOps for Cpu {
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
        cross::cross_attend(self, q, (rows, sources), memory, spec, weights)
    }
}

impl RecurrentOps for Cpu {
    type Recurrent = Recurrent;
    type Additive = Additive;
    type AdditiveMemory = AdditiveMemory;

    fn recurrent(&self, spec: &RecurrentSpec, format: Format) -> Result<Recurrent> {
        Recurrent::pack(self.threads(), self.isa(), spec, format)
    }

    fn recur(
        &self,
        x: &Tensor,
        rows: &Ragged,
        layer: &Recurrent,
        state: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let recurred = recurrent::recur(self, x, rows, layer, state, false)?;
        Ok((recurred.y, recurred.end))
    }

    fn columns(&self, parts: &[Part<'_, Tensor>]) -> Result<Tensor> {
        columns::columns(self, parts)
    }

    fn stack_rows(&self, parts: &[&Tensor]) -> Result<Tensor> {
        columns::stack_rows(self, parts)
    }

    fn additive(&self, v: &HostTensor) -> Result<Additive> {
        additive::additive(v)
    }

    fn additive_memory(
        &self,
        keys: &Tensor,
        values: &Tensor,
        rows: &Ragged,
    ) -> Result<AdditiveMemory> {
        additive::memory(self, keys, values, rows)
    }

    fn additive_attend(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Additive,
        memory: &AdditiveMemory,
        sources: &[usize],
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor> {
        additive::attend(self, q, (rows, sources), v, memory, weights)
    }
}

impl ConvolutionOps for Cpu {
    fn windows(&self, x: &Tensor, grids: &[Grid], windows: &Windows) -> Result<Tensor> {
        windows::windows(self, x, grids, windows)
    }
}
