//! The definition of every operation, in plain loops: the oracle of the conformance suite.
//!
//! One rule throughout: an operation computes in f64 from its f32 operands and rounds each result to f32 once, at its
//! end. What a [`Format`] or another operation rounds on the way (bf16 and int8 operands, rotated keys, scores between
//! rules) is rounded here too, where it is part of the definition; the module of the operation says so.
//!
//! Nothing here is fast. Each row or head is computed by itself, so the results cannot depend on the batch.

pub mod activation;
pub mod additive;
pub mod attention;
pub mod backward;
pub mod cache;
pub mod columns;
pub mod cross;
pub mod embed;
pub mod linear;
pub mod norm;
pub mod pool;
pub(crate) mod real;
pub mod recurrent;
pub mod rope;
pub mod rules;
pub mod sample;
pub mod sample_k;
pub mod top_k;
pub mod windows;

use crate::backend::check;
use crate::{
    AttentionSpec, Backend, BucketSpec, CacheSpec, ConvolutionOps, CrossAttentionOps, DecoderOps,
    EncoderOps, Epilogue, Format, Grid, HostTensor, LinearSpec, LogitRule, Lookup, NormSpec, Part,
    Pick, Picked, Pool, Ragged, RecurrentOps, RecurrentSpec, Result, Rows, Sampled, ScoreOrder,
    TopK, Warp, Windows,
};

/// The reference backend. It holds nothing.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Pool, Ragged, reference::Reference};
///
/// // To see what a backend of one's own should have given.
/// let x = Reference.upload(&HostTensor::from_f32(vec![3, 1], &[1.0, 2.0, 6.0])?)?;
/// let pooled = Reference.pool(&x, &Ragged::from_lengths([3]), Pool::Mean)?;
/// assert_eq!(Reference.download(&pooled)?, [3.0]);
/// assert_eq!(Reference.formats().len(), 5); // it has every format
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

/// Packed rows in host memory, `[N, width]`.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Rows, reference::{Reference, Tensor}};
///
/// let host = HostTensor::from_f32(vec![2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?;
/// let x: Tensor = Reference.upload(&host)?;
/// assert_eq!((x.rows(), x.width(), Reference.download(&x)?), (2, 3, host.to_f32()));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    rows: usize,
    width: usize,
    values: Vec<f32>,
}

impl Tensor {
    fn new(rows: usize, width: usize, values: Vec<f32>) -> Self {
        debug_assert_eq!(values.len(), rows * width);
        Self { rows, width, values }
    }

    /// Its values.
    fn copy(&self) -> Vec<f32> {
        self.values.clone()
    }

    /// Row `i`.
    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    /// The rows in order, also where they have no columns.
    fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        (0..self.rows).map(|i| self.row(i))
    }
}

impl Rows for Tensor {
    fn rows(&self) -> usize {
        self.rows
    }

    fn width(&self) -> usize {
        self.width
    }
}

impl Backend for Reference {
    type Tensor = Tensor;
    type Linear = linear::Linear;
    type Norm = norm::Norm;
    type Embedding = embed::Embedding;

    fn describe(&self) -> String {
        "reference".into()
    }

    fn upload(&self, host: &HostTensor) -> Result<Tensor> {
        let [rows, width] = check::upload(host)?;
        Ok(Tensor::new(rows, width, host.to_f32()))
    }

    fn download(&self, x: &Tensor) -> Result<Vec<f32>> {
        Ok(x.copy())
    }

    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<Self::Linear> {
        linear::Linear::pack(spec, format)
    }

    fn linear(
        &self,
        x: &Tensor,
        layer: &Self::Linear,
        epilogue: Epilogue<'_, Tensor>,
    ) -> Result<Tensor> {
        linear::linear(x, layer, &epilogue)
    }

    fn embedding(&self, table: &HostTensor) -> Result<Self::Embedding> {
        embed::Embedding::new(table)
    }

    fn embed(&self, lookups: &[Lookup<'_, Self::Embedding>]) -> Result<Tensor> {
        embed::embed(lookups)
    }

    fn norm_weights(&self, spec: &NormSpec) -> Result<Self::Norm> {
        norm::Norm::new(spec)
    }

    fn norm(&self, x: &Tensor, norm: &Self::Norm) -> Result<Tensor> {
        norm::norm(x, norm)
    }

    fn gather_rows(&self, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        pool::gather_rows(x, rows)
    }

    fn pool(&self, x: &Tensor, rows: &Ragged, pool: Pool) -> Result<Tensor> {
        pool::pool(x, rows, pool)
    }
}

impl EncoderOps for Reference {
    type RelativeBias = attention::RelativeBias;

    fn relative_bias(&self, table: &HostTensor, spec: BucketSpec) -> Result<Self::RelativeBias> {
        attention::RelativeBias::new(table, spec)
    }

    fn attend(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&Self::RelativeBias>,
    ) -> Result<Tensor> {
        attention::attend(qkv, rows, spec, bias)
    }
}

impl DecoderOps for Reference {
    type KvCache = cache::KvCache;
    type Chosen = Picked;

    fn kv_cache(&self, spec: &CacheSpec) -> Result<Self::KvCache> {
        cache::KvCache::new(spec)
    }

    fn extend(&self, cache: &mut Self::KvCache, rows: &Ragged) -> Result<()> {
        cache.extend(rows)
    }

    fn attend_step(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        cache: &mut Self::KvCache,
        layer: usize,
        spec: &AttentionSpec,
        bias: Option<&Self::RelativeBias>,
    ) -> Result<Tensor> {
        cache.attend_step(qkv, rows, layer, spec, bias)
    }

    fn reorder(&self, cache: &mut Self::KvCache, parents: &[usize]) -> Result<()> {
        cache.reorder(parents)
    }

    fn top_k(
        &self,
        logits: &Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
    ) -> Result<TopK> {
        top_k::top_k(logits, k, order, rules)
    }

    fn sample(
        &self,
        logits: &Tensor,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        uniforms: &[f32],
    ) -> Result<Sampled> {
        sample::sample(logits, rules, warp, uniforms)
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
        sample_k::sample_k(logits, k, order, rules, warp, seeds)
    }

    fn choose(&self, logits: &Tensor, rules: &[Vec<LogitRule>], pick: &Pick<'_>) -> Result<Picked> {
        pick.at_once(self, logits, rules)
    }

    fn chosen(&self, chosen: &Picked) -> Result<Picked> {
        Ok(chosen.clone())
    }
}

impl CrossAttentionOps for Reference {
    type Memory = cross::Memory;

    fn memory(&self, kv: &Tensor, rows: &Ragged, spec: &AttentionSpec) -> Result<Self::Memory> {
        cross::Memory::new(kv, rows, spec)
    }

    fn cross_attend(
        &self,
        q: &Tensor,
        rows: &Ragged,
        memory: &Self::Memory,
        sources: &[usize],
        spec: &AttentionSpec,
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor> {
        cross::cross_attend(q, rows, memory, sources, spec, weights)
    }
}

impl RecurrentOps for Reference {
    type Recurrent = recurrent::Recurrent;
    type Additive = additive::Additive;
    type AdditiveMemory = additive::AdditiveMemory;

    fn recurrent(&self, spec: &RecurrentSpec, format: Format) -> Result<Self::Recurrent> {
        recurrent::Recurrent::pack(spec, format)
    }

    fn recur(
        &self,
        x: &Tensor,
        rows: &Ragged,
        layer: &Self::Recurrent,
        state: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        recurrent::recur(x, rows, layer, state)
    }

    fn columns(&self, parts: &[Part<'_, Tensor>]) -> Result<Tensor> {
        columns::columns(parts)
    }

    fn stack_rows(&self, parts: &[&Tensor]) -> Result<Tensor> {
        columns::stack_rows(parts)
    }

    fn additive(&self, v: &HostTensor) -> Result<Self::Additive> {
        additive::Additive::new(v)
    }

    fn additive_memory(
        &self,
        keys: &Tensor,
        values: &Tensor,
        rows: &Ragged,
    ) -> Result<Self::AdditiveMemory> {
        additive::AdditiveMemory::new(keys, values, rows)
    }

    fn additive_attend(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Self::Additive,
        memory: &Self::AdditiveMemory,
        sources: &[usize],
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor> {
        additive::attend(q, rows, v, memory, sources, weights)
    }
}

impl ConvolutionOps for Reference {
    fn windows(&self, x: &Tensor, grids: &[Grid], windows: &Windows) -> Result<Tensor> {
        windows::windows(x, grids, windows)
    }
}
