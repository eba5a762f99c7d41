//! The operations that a backend implements.
//!
//! Activations are packed rows `[N, width]` (see [`Ragged`]). Weights are packed once into opaque types that own
//! whatever layout the backend is fastest with; they are `Send + Sync` and shared. State that belongs to one request
//! (activations, [`DecoderOps::KvCache`], [`CrossAttentionOps::Memory`]) is owned by that request.
//!
//! **Every operation is deterministic and batch-invariant**: a row's result has the same bits whatever other rows
//! stand beside it and on however many threads. Attention over a cache gives the bits of attention over the whole
//! sequence.
//!
//! Wrong shapes and indices are errors, never panics. NaN and infinity propagate as IEEE 754 has it.

pub mod check;
mod choose;
mod inherit;
mod recurrent;
mod stage;

pub use choose::Pick;
pub use recurrent::{Part, RecurrentOps};
pub use stage::{Side, Stage};

use crate::{
    Activation, AttentionSpec, BucketSpec, CacheSpec, Error, Format, HostTensor, LinearSpec,
    LogitRule, NormSpec, Pool, Ragged, Result, Sampled, ScoreOrder, TopK, Warp,
};

/// What every backend's activation type tells of itself.
pub trait Rows {
    /// N
    fn rows(&self) -> usize;
    /// Columns.
    fn width(&self) -> usize;
}

/// What [`Backend::linear`] does to a finished sum before it is stored: activation (or gate), then residual.
#[derive(Debug)]
pub struct Epilogue<'a, T> {
    /// Applied after the bias; to the gate half of a gated layer.
    pub activation: Option<Activation>,
    /// The rate at which elements are dropped before the residual in a pass that is trained on
    /// ([`autodiff`](crate::autodiff)); 0 for none. Otherwise nothing is dropped.
    pub dropout: f32,
    /// `[N, out]`, added last.
    pub residual: Option<&'a T>,
}

impl<T> Epilogue<'_, T> {
    /// Bias only.
    pub const NONE: Self = Self { activation: None, dropout: 0.0, residual: None };

    /// The same with dropout at a rate.
    pub fn with_dropout(self, rate: f32) -> Self {
        Self { dropout: rate, ..self }
    }
}

impl<'a, T> Epilogue<'a, T> {
    /// Adds `residual`.
    pub fn residual(residual: &'a T) -> Self {
        Self { residual: Some(residual), ..Self::NONE }
    }

    /// Applies `activation`.
    pub fn activation(activation: Activation) -> Self {
        Self { activation: Some(activation), ..Self::NONE }
    }
}

/// One table to look up and add: `scale · table[ids[row]]`.
#[derive(Debug)]
pub struct Lookup<'a, E> {
    /// The table.
    pub table: &'a E,
    /// One row index of the table for each of the N rows.
    pub ids: &'a [u32],
    /// Multiplies the row (√M in some encoder-decoders; 1 elsewhere).
    pub scale: f32,
}

impl<E> Clone for Lookup<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Lookup<'_, E> {}

/// Bytes of the memory that a device has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// In use by nobody.
    pub free: u64,
    /// All.
    pub total: u64,
}

/// Memory, linear layers, norms and embeddings: what every model needs.
///
/// Cloning shares the device (threads, kernels), not the data.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Activations, `[N, width]`. Dropping one returns its memory for the next.
    type Tensor: Rows + Send + Sync;
    /// A packed linear layer with its bias.
    type Linear: Send + Sync;
    /// The weights of a normalisation.
    type Norm: Send + Sync;
    /// A table that rows are looked up in.
    type Embedding: Send + Sync;

    /// Names the backend and what it runs on, such as `cpu (avx512, 2 threads)`.
    fn describe(&self) -> String;

    /// The formats that layers can be packed in. [`Error::Unsupported`] answers the others.
    fn formats(&self) -> &'static [Format] {
        &Format::ALL
    }

    /// The memory of the device; none where weights and activations lie in the host's.
    fn device_memory(&self) -> Result<Option<DeviceMemory>> {
        Ok(None)
    }

    /// Copies a `[N, width]` tensor of any float type to the device.
    fn upload(&self, host: &HostTensor) -> Result<Self::Tensor>;

    /// Copies to the host: N · width values, row-major.
    fn download(&self, x: &Self::Tensor) -> Result<Vec<f32>>;

    /// Packs a linear layer. Reads the parts in place, holds one copy in `format`.
    /// Fails on shapes that do not agree and on weights that are not finite.
    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<Self::Linear>;

    /// `[N, in]` to `[N, out]`: scale · x Wᵀ + b, then the epilogue.
    fn linear(
        &self,
        x: &Self::Tensor,
        layer: &Self::Linear,
        epilogue: Epilogue<'_, Self::Tensor>,
    ) -> Result<Self::Tensor>;

    /// Takes over a `[rows, M]` table, which may be a view of a mapped file: only the rows that are used are read.
    fn embedding(&self, table: &HostTensor) -> Result<Self::Embedding>;

    /// The sum of the lookups, added in their order: `[N, M]`. Fails on an id outside its table.
    fn embed(&self, lookups: &[Lookup<'_, Self::Embedding>]) -> Result<Self::Tensor>;

    /// Takes over the weights of a normalisation.
    fn norm_weights(&self, spec: &NormSpec) -> Result<Self::Norm>;

    /// Normalises each run of M columns of each row, M being the width of the weights: whole rows, or the heads of a query.
    fn norm(&self, x: &Self::Tensor, norm: &Self::Norm) -> Result<Self::Tensor>;

    /// The given rows of `x`, in the given order.
    fn gather_rows(&self, x: &Self::Tensor, rows: &[usize]) -> Result<Self::Tensor>;

    /// One row a sequence: `[B, width]`. Fails on an empty sequence.
    fn pool(&self, x: &Self::Tensor, rows: &Ragged, pool: Pool) -> Result<Self::Tensor>;

    /// Elements are dropped at a rate in a pass that is trained on ([`autodiff`](crate::autodiff)); otherwise, and so in a
    /// backend that computes, x is as it was.
    fn dropout(&self, x: Self::Tensor, rate: f32) -> Result<Self::Tensor> {
        let _ = rate;
        Ok(x)
    }

    /// Does `work`, one step of a decoding, of which most are like the one before. A backend may put off what the step asks for
    /// until it has returned, or downloads something, and then do it as a whole; the bits are the same. A step within a step
    /// is a part of it.
    ///
    /// All of it is asked for by the calling thread, and what it makes goes to other threads only once it has returned. Where
    /// the backend fails when the work has been done, its error comes in place of the result.
    fn step<T, E: From<Error>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        work()
    }

    /// Told by models what they have just computed. A backend that computes takes no notice, which costs nothing; one that
    /// wraps another may look at the rows.
    fn observe(&self, stage: Stage, x: &Self::Tensor) -> Result<()> {
        let _ = (stage, x);
        Ok(())
    }
}

/// Attention within whole sequences.
pub trait EncoderOps: Backend {
    /// A bias for each head and each distance between key and query.
    type RelativeBias: Send + Sync;

    /// From a `[buckets, H]` table.
    fn relative_bias(&self, table: &HostTensor, spec: BucketSpec) -> Result<Self::RelativeBias>;

    /// softmax(scale · q kᵀ + bias) v in each sequence: `[N, (H + 2 G) D]` (query | key | value) to `[N, H D]`.
    /// Positions count from 0 in each sequence.
    fn attend(
        &self,
        qkv: &Self::Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&Self::RelativeBias>,
    ) -> Result<Self::Tensor>;
}

/// Attention over a cache, and the choice of the next token.
///
/// One pass over a decoder: [`extend`](Self::extend) once, [`attend_step`](Self::attend_step) once a layer.
/// A hypothesis is one continuation; at first there is one a sequence.
pub trait DecoderOps: EncoderOps {
    /// Keys and values of all layers, and which of them each hypothesis sees.
    type KvCache: Send;
    /// Ids that were chosen, one a row, with their log-probabilities: [`Sampled`] where they are the host's at once.
    type Chosen: Send;

    /// An empty cache: `spec.sequences` hypotheses of length 0.
    fn kv_cache(&self, spec: &CacheSpec) -> Result<Self::KvCache>;

    /// Begins a pass: hypothesis i grows by `rows.length(i)` positions, which may differ and may be 0.
    /// Fails, changing nothing, where one would not fit, and where a layer has not attended in the last pass
    /// ([`check::Pass`]).
    fn extend(&self, cache: &mut Self::KvCache, rows: &Ragged) -> Result<()>;

    /// Stores the keys and values of the new rows of this pass in `layer`, then attends causally to everything the
    /// hypothesis holds: `[N, (H + 2 G) D]` to `[N, H D]`. `rows` is that of [`extend`](Self::extend); each layer once.
    /// Positions (rotary, relative bias) continue those in the cache.
    fn attend_step(
        &self,
        qkv: &Self::Tensor,
        rows: &Ragged,
        cache: &mut Self::KvCache,
        layer: usize,
        spec: &AttentionSpec,
        bias: Option<&Self::RelativeBias>,
    ) -> Result<Self::Tensor>;

    /// New hypothesis i continues old hypothesis `parents[i]`; one that nobody continues is gone. Copies no keys or
    /// values. Parents are listed sequence by sequence, at most `spec.beams` children for each first sequence.
    fn reorder(&self, cache: &mut Self::KvCache, parents: &[usize]) -> Result<()>;

    /// The k best ids of each row of `[N, V]` logits after its rules. `rules` has N entries, or none for no rules.
    fn top_k(
        &self,
        logits: &Self::Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
    ) -> Result<TopK>;

    /// Draws one id a row: rules, warp, softmax, then the first id (in rising order) at which the cumulative
    /// probability exceeds `uniforms[row]`, a number in [0, 1).
    /// Fails on a row that has no distribution: every id banned, or a score NaN or plus infinity.
    fn sample(
        &self,
        logits: &Self::Tensor,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        uniforms: &[f32],
    ) -> Result<Sampled>;

    /// Draws k ids a row without replacement: the scores of [`top_k`](Self::top_k) with `warp` behind the rules, then the
    /// k best of score + [`gumbel`](crate::noise::gumbel)`(seeds[row], id)`, which are given without that noise. As the
    /// noise can be had again from the seed, what is drawn from several rows can be merged into one draw.
    ///
    /// Ids that rules and warp leave out come last, in rising order, with minus infinity. A row has NaN scores where a
    /// score is NaN or plus infinity before the warp.
    fn sample_k(
        &self,
        logits: &Self::Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        seeds: &[u64],
    ) -> Result<TopK>;

    /// Whether [`choose`](Self::choose) returns before the ids are known, so that it is worth asking for what follows them
    /// ([`embed_chosen`](Self::embed_chosen)) before they are waited for ([`chosen`](Self::chosen)).
    fn chooses_ahead(&self) -> bool {
        false
    }

    /// One id a row of `[N, V]` logits after its rules: the bits of the operation that [`Pick`] names. What that fails with
    /// because of the logits, this fails with, or [`chosen`](Self::chosen) does.
    fn choose(
        &self,
        logits: &Self::Tensor,
        rules: &[Vec<LogitRule>],
        pick: &Pick<'_>,
    ) -> Result<Self::Chosen>;

    /// Waits for the ids, and for nothing that was asked for behind their choice.
    fn chosen(&self, chosen: &Self::Chosen) -> Result<Sampled>;

    /// As [`embed`](Backend::embed) of `scale · table[id]` for each id that was chosen, and then of `others`, without the host's
    /// knowing the ids. Fails on an id outside its table, and where the ids are not known, where there could be one.
    fn embed_chosen(
        &self,
        (table, scale): (&Self::Embedding, f32),
        chosen: &Self::Chosen,
        others: &[Lookup<'_, Self::Embedding>],
    ) -> Result<Self::Tensor> {
        let Sampled { ids, .. } = self.chosen(chosen)?;
        let mut lookups = vec![Lookup { table, ids: &ids, scale }];
        lookups.extend_from_slice(others);
        self.embed(&lookups)
    }
}

/// Attention of a decoder to an encoder's output.
pub trait CrossAttentionOps: EncoderOps {
    /// Keys and values of one layer over the encoder's output, laid out once for the whole decoding.
    type Memory: Send + Sync;

    /// From `[N, 2 G D]` (key | value), the projected encoder output; `rows` are the source sequences.
    /// There are no positions: fails where `spec` is rotary.
    fn memory(
        &self,
        kv: &Self::Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
    ) -> Result<Self::Memory>;

    /// Row group i of `q` (`[N, H D]`, divided by `rows`) attends to all positions of source `sources[i]`.
    /// Where `weights` is given, the attention probabilities are appended: for each row, for each head,
    /// one value a source position. An empty source gives zeros.
    fn cross_attend(
        &self,
        q: &Self::Tensor,
        rows: &Ragged,
        memory: &Self::Memory,
        sources: &[usize],
        spec: &AttentionSpec,
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Self::Tensor>;
}

/// Everything an encoder-decoder needs.
pub trait SeqBackend: DecoderOps + CrossAttentionOps + RecurrentOps {}
impl<B: DecoderOps + CrossAttentionOps + RecurrentOps> SeqBackend for B {}
