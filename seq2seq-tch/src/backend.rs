//! The traits of inference.

use crate::ops::{
    additive::{self, Additive, AdditiveMemory},
    attention::{self, RelativeBias},
    cache::KvCache,
    columns,
    cross::{self, Memory},
    embed::{self, Embedding},
    linear::{self, Linear},
    norm::{self, Norm},
    pool,
    recurrent::{self, Recurrent},
    top_k, windows,
};
use crate::tensor::{from_host, to_host};
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::reference::Reference;
use seq2seq_core::train::Recurred;
use seq2seq_core::{
    AttentionSpec, Backend, BucketSpec, CacheSpec, ConvolutionOps, CrossAttentionOps, DecoderOps,
    EncoderOps, Epilogue, Format, Grid, HostTensor, LinearSpec, LogitRule, Lookup, NormSpec, Part,
    Pick, Picked, Pool, Ragged, RecurrentOps, RecurrentSpec, Result, Rows, Sampled, ScoreOrder,
    TopK, Warp, Windows,
};

impl Backend for Tch {
    type Tensor = Tensor;
    type Linear = Linear;
    type Norm = Norm;
    type Embedding = Embedding;

    fn describe(&self) -> String {
        let options = self.options();
        format!("libtorch ({}, {})", options.device, options.precision.name())
    }

    fn upload(&self, host: &HostTensor) -> Result<Tensor> {
        let [rows, width] = check::upload(host)?;
        Ok(Tensor::new(rows, width, from_host(host, self.device())?)?)
    }

    fn download(&self, x: &Tensor) -> Result<Vec<f32>> {
        Ok(to_host(x.values())?)
    }

    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<Linear> {
        Ok(self.pack_linear(spec, format)?)
    }

    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: Epilogue<'_, Tensor>) -> Result<Tensor> {
        Ok(linear::linear(self, x, layer, &epilogue)?)
    }

    fn embedding(&self, table: &HostTensor) -> Result<Embedding> {
        Ok(Embedding::new(self, table)?)
    }

    fn embed(&self, lookups: &[Lookup<'_, Embedding>]) -> Result<Tensor> {
        Ok(embed::embed(self, lookups, Embedding::shape, Embedding::table)?)
    }

    fn norm_weights(&self, spec: &NormSpec) -> Result<Norm> {
        Ok(Norm::new(self, spec)?)
    }

    fn norm(&self, x: &Tensor, norm: &Norm) -> Result<Tensor> {
        Ok(norm::norm(self, x, norm)?)
    }

    fn gather_rows(&self, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        Ok(pool::gather_rows(self, x, rows)?)
    }

    fn pool(&self, x: &Tensor, rows: &Ragged, pool: Pool) -> Result<Tensor> {
        Ok(pool::pool(self, x, rows, pool)?)
    }
}

impl EncoderOps for Tch {
    type RelativeBias = RelativeBias;

    fn relative_bias(&self, table: &HostTensor, spec: BucketSpec) -> Result<RelativeBias> {
        Ok(RelativeBias::new(self, table, spec)?)
    }

    fn attend(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias>,
    ) -> Result<Tensor> {
        Ok(attention::attend(self, qkv, rows, spec, bias)?)
    }
}

impl Tch {
    /// Logits as the reference takes them.
    fn logits(&self, x: &Tensor) -> Result<<Reference as Backend>::Tensor> {
        Reference.upload(&HostTensor::from_f32(vec![x.rows(), x.width()], &self.download(x)?)?)
    }
}

impl DecoderOps for Tch {
    type KvCache = KvCache;
    type Chosen = Picked;

    fn kv_cache(&self, spec: &CacheSpec) -> Result<KvCache> {
        Ok(KvCache::new(spec)?)
    }

    fn extend(&self, cache: &mut KvCache, rows: &Ragged) -> Result<()> {
        Ok(cache.extend(rows)?)
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
        Ok(cache.attend_step(self, qkv, rows, layer, spec, bias)?)
    }

    fn reorder(&self, cache: &mut KvCache, parents: &[usize]) -> Result<()> {
        Ok(cache.reorder(parents)?)
    }

    fn top_k(
        &self,
        logits: &Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
    ) -> Result<TopK> {
        Ok(top_k::top_k(self, logits, k, order, rules)?)
    }

    /// The warps and the draw are core's own definitions, for which libtorch has no operation: the host carries them out.
    fn sample(
        &self,
        logits: &Tensor,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        uniforms: &[f32],
    ) -> Result<Sampled> {
        Reference.sample(&self.logits(logits)?, rules, warp, uniforms)
    }

    /// On the host, as [`sample`](DecoderOps::sample).
    fn sample_k(
        &self,
        logits: &Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        seeds: &[u64],
    ) -> Result<TopK> {
        Reference.sample_k(&self.logits(logits)?, k, order, rules, warp, seeds)
    }

    fn choose(&self, logits: &Tensor, rules: &[Vec<LogitRule>], pick: &Pick<'_>) -> Result<Picked> {
        pick.at_once(self, logits, rules)
    }

    fn chosen(&self, chosen: &Picked) -> Result<Picked> {
        Ok(chosen.clone())
    }
}

impl CrossAttentionOps for Tch {
    type Memory = Memory;

    fn memory(&self, kv: &Tensor, rows: &Ragged, spec: &AttentionSpec) -> Result<Memory> {
        Ok(Memory::new(self, kv, rows, spec)?)
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
        Ok(cross::cross_attend(self, q, memory, (rows, sources), spec, weights)?)
    }
}

impl RecurrentOps for Tch {
    type Recurrent = Recurrent;
    type Additive = Additive;
    type AdditiveMemory = AdditiveMemory;

    fn recurrent(&self, spec: &RecurrentSpec, format: Format) -> Result<Recurrent> {
        Ok(Recurrent::pack(self, spec, format)?)
    }

    fn recur(
        &self,
        x: &Tensor,
        rows: &Ragged,
        layer: &Recurrent,
        state: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let Recurred { y, end, .. } = recurrent::run(self, x, rows, layer, state)?;
        Ok((y, end))
    }

    fn columns(&self, parts: &[Part<'_, Tensor>]) -> Result<Tensor> {
        Ok(columns::columns(parts)?)
    }

    fn stack_rows(&self, parts: &[&Tensor]) -> Result<Tensor> {
        Ok(columns::stack_rows(parts)?)
    }

    fn additive(&self, v: &HostTensor) -> Result<Additive> {
        Ok(Additive::new(self, v)?)
    }

    fn additive_memory(
        &self,
        keys: &Tensor,
        values: &Tensor,
        rows: &Ragged,
    ) -> Result<AdditiveMemory> {
        Ok(AdditiveMemory::new(self, keys, values, rows)?)
    }

    fn additive_attend(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Additive,
        memory: &AdditiveMemory,
        sources: &[usize],
        mut weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor> {
        let see = |p: &tch::Tensor| match weights.as_deref_mut() {
            Some(weights) => additive::append(weights, p),
            None => Ok(()),
        };
        Ok(additive::attend(self, q, (rows, sources), v, memory, see)?)
    }
}

impl ConvolutionOps for Tch {
    fn windows(&self, x: &Tensor, grids: &[Grid], windows: &Windows) -> Result<Tensor> {
        Ok(windows::windows(self, x, grids, windows)?)
    }
}
