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
mod convolution;
mod epilogue;
mod inherit;
mod recurrent;
mod stage;

pub use choose::{Beams, Continued, Pick, Picked};
pub use convolution::ConvolutionOps;
pub use epilogue::Epilogue;
pub use recurrent::{Part, RecurrentOps};
pub use stage::{Side, Stage};

use crate::{
    AttentionSpec, BucketSpec, CacheSpec, Error, Format, HostTensor, LinearSpec, LogitRule,
    NormSpec, Pool, Ragged, Result, Sampled, ScoreOrder, TopK, Warp,
};

/// What every backend's activation type tells of itself.
///
/// ```
/// use seq2seq_core::{Rows, backend::check};
///
/// /// The activations of a backend of one's own, row after row.
/// struct Packed {
///     values: Vec<f32>,
///     width: usize,
/// }
///
/// impl Rows for Packed {
///     fn rows(&self) -> usize {
///         self.values.len() / self.width.max(1)
///     }
///
///     fn width(&self) -> usize {
///         self.width
///     }
/// }
///
/// // It is all that the checks which backends share want of a tensor.
/// let x = Packed { values: vec![0.0; 12], width: 4 };
/// let error = check::gather_rows(&x, &[0, 3]).unwrap_err();
/// assert_eq!(error.to_string(), "gather_rows: row 3 at position 1 is out of range (there are 3)");
/// ```
pub trait Rows {
    /// N
    fn rows(&self) -> usize;
    /// Columns.
    fn width(&self) -> usize;
}

/// One table to look up and add: `scale · table[ids[row]]`.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Lookup, reference::Reference};
///
/// let b = Reference;
/// let tokens = b.embedding(&HostTensor::from_f32(vec![3, 2], &[0.0, 1.0, 10.0, 11.0, 20.0, 21.0])?)?;
/// let positions = b.embedding(&HostTensor::from_f32(vec![2, 2], &[0.0, 0.0, 0.5, 0.5])?)?;
/// // Two rows: tokens 2 and 1, scaled, at the positions 0 and 1.
/// let x = b.embed(&[
///     Lookup { table: &tokens, ids: &[2, 1], scale: 2.0 },
///     Lookup { table: &positions, ids: &[0, 1], scale: 1.0 },
/// ])?;
/// assert_eq!(b.download(&x)?, [40.0, 42.0, 20.5, 22.5]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{Backend, DeviceMemory, Result, reference::Reference};
///
/// /// Whether weights have room and leave a tenth of the device to activations.
/// fn has_room(backend: &impl Backend, bytes: u64) -> Result<bool> {
///     Ok(match backend.device_memory()? {
///         Some(DeviceMemory { free, total }) => bytes + total / 10 <= free,
///         None => true, // the host's memory, which the system sees to
///     })
/// }
///
/// assert!(has_room(&Reference, 5 << 30)?);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{Activation, Backend, Epilogue, Result};
///
/// /// The second half of a pre-norm transformer layer, on any backend.
/// struct FeedForward<B: Backend> {
///     norm: B::Norm,
///     up: B::Linear,
///     down: B::Linear,
/// }
///
/// impl<B: Backend> FeedForward<B> {
///     fn run(&self, b: &B, x: &B::Tensor) -> Result<B::Tensor> {
///         let epilogues = [Epilogue::activation(Activation::Relu), Epilogue::residual(x)];
///         b.feed_forward(&b.norm(x, &self.norm)?, [&self.up, &self.down], epilogues)
///     }
/// }
///
/// # use seq2seq_core::{Format, HostTensor, LinearSpec, NormKind, NormSpec, reference::Reference as SomeBackend};
/// let b = SomeBackend;
/// println!("computes on {}", b.describe());
/// # let host = |shape, values: &[f32]| HostTensor::from_f32(shape, values);
/// let weight = host(vec![2], &[1.0, 1.0])?;
/// let block = FeedForward {
///     norm: b.norm_weights(&NormSpec { kind: NormKind::Layer, eps: 0.0, weight, bias: None })?,
///     up: b.pack(&LinearSpec::single(host(vec![3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0])?, None), Format::F32)?,
///     down: b.pack(&LinearSpec::single(host(vec![2, 3], &[0.5, 0.0, 0.0, 0.0, 0.5, 0.0])?, None), Format::F32)?,
/// };
/// let x = b.upload(&host(vec![1, 2], &[1.0, 7.0])?)?;
/// assert_eq!(b.download(&block.run(&b, &x)?)?, [1.0, 7.5]); // [1, 7] + relu([-1, 1]) / 2
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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

    /// `[N, in]` to `[N, out]` through two layers: what [`linear`](Self::linear) makes of what it makes, to the bit. Nobody else
    /// sees what lies between, so a backend may hold it in the numbers that the second layer multiplies, and not in f32 besides.
    fn feed_forward(
        &self,
        x: &Self::Tensor,
        [first, second]: [&Self::Linear; 2],
        [inner, outer]: [Epilogue<'_, Self::Tensor>; 2],
    ) -> Result<Self::Tensor> {
        self.linear(&self.linear(x, first, inner)?, second, outer)
    }

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
///
/// ```
/// use seq2seq_core::{reference::Reference, *};
///
/// let b = Reference;
/// let spec = AttentionSpec {
///     heads: 2, kv_heads: 2, head_dim: 1, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // T5's: to the key before (bucket 1) the first head never attends, the second likes to.
/// let buckets = BucketSpec { buckets: 4, max_distance: 8, bidirectional: true };
/// let table = HostTensor::from_f32(vec![4, 2], &[0.0, 0.0, -1e9, 5.0, 0.0, 0.0, 0.0, 0.0])?;
/// let bias = b.relative_bias(&table, buckets)?;
///
/// let attend = |values: &[f32], lengths: &[usize]| -> Result<Vec<f32>> {
///     let qkv = b.upload(&HostTensor::from_f32(vec![values.len() / 6, 6], values)?)?;
///     b.download(&b.attend(&qkv, &Ragged::from_lengths(lengths.iter().copied()), &spec, Some(&bias))?)
/// };
/// // Query | key | value of two heads each. A sequence of two rows, and one of one row.
/// let rows = [0.5, 1.0, -1.0, 2.0, 3.0, 4.0, /**/ 1.0, 0.0, 0.25, 1.5, 7.0, 8.0, /**/ 2.0, 2.0, 2.0, 2.0, 5.0, 6.0];
/// let y = attend(&rows, &[2, 1])?;
/// assert_eq!((y[2], &y[4..]), (7.0, &[5.0, 6.0][..]));
/// // What stands beside a sequence changes none of its bits.
/// assert_eq!(y[..4], attend(&rows[..12], &[2])?);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{reference::Reference, *};
///
/// let b = Reference;
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 2, scale: 1.0, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Query | key | value of four positions: a prompt of three, and one more.
/// let values: Vec<f32> = (0..4 * 6).map(|i| (i * 5 % 11) as f32 / 4.0 - 1.0).collect();
/// let qkv = HostTensor::from_f32(vec![4, 6], &values)?;
/// let whole = b.attend(&b.upload(&qkv)?, &Ragged::from_lengths([4]), &spec, None)?;
///
/// let mut cache = b.kv_cache(&CacheSpec {
///     layers: 1, kv_heads: 1, head_dim: 2, sequences: 1, beams: 2, capacity: 8, precision: Precision::F32,
/// })?;
/// let mut pass = |positions: std::ops::Range<usize>, hypotheses: usize| {
///     let one = qkv.slice_rows(positions.clone())?.to_f32();
///     let x = b.upload(&HostTensor::from_f32(vec![hypotheses * positions.len(), 6], &one.repeat(hypotheses))?)?;
///     let rows = Ragged::from_lengths(vec![positions.len(); hypotheses]);
///     b.extend(&mut cache, &rows)?;
///     let y = b.attend_step(&x, &rows, &mut cache, 0, &spec, None)?;
///     b.reorder(&mut cache, &[0, 0])?; // both beams go on from the first
///     b.download(&y)
/// };
/// // Piece by piece it has the bits of the whole, on every beam.
/// let (prompt, step) = (pass(0..3, 1)?, pass(3..4, 2)?);
/// let whole = b.download(&whole)?;
/// assert_eq!(prompt, whole[..6]);
/// assert_eq!(step, whole[6..].repeat(2));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub trait DecoderOps: EncoderOps {
    /// Keys and values of all layers, and which of them each hypothesis sees.
    type KvCache: Send;
    /// Ids that were chosen, with their log-probabilities: [`Picked`] where they are the host's at once.
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
    /// ([`embed_chosen`](Self::embed_chosen), [`reorder_chosen`](Self::reorder_chosen)) before they are waited for
    /// ([`chosen`](Self::chosen)).
    fn chooses_ahead(&self) -> bool {
        false
    }

    /// Ids for each row of `[N, V]` logits after its rules: the bits of the operations that [`Pick`] names. What they fail with
    /// because of the logits, this fails with, or [`chosen`](Self::chosen) does.
    fn choose(
        &self,
        logits: &Self::Tensor,
        rules: &[Vec<LogitRule>],
        pick: &Pick<'_>,
    ) -> Result<Self::Chosen>;

    /// Waits for the ids, and for nothing that was asked for behind their choice.
    fn chosen(&self, chosen: &Self::Chosen) -> Result<Picked>;

    /// As [`embed`](Backend::embed) of `scale · table[id]` for each id that hypotheses go on with ([`Picked::next_ids`]), and
    /// then of `others`, without the host's knowing the ids. Fails on an id outside its table, and where the ids are not
    /// known, where there could be one.
    fn embed_chosen(
        &self,
        (table, scale): (&Self::Embedding, f32),
        chosen: &Self::Chosen,
        others: &[Lookup<'_, Self::Embedding>],
    ) -> Result<Self::Tensor> {
        let picked = self.chosen(chosen)?;
        let mut lookups = vec![Lookup { table, ids: picked.next_ids(), scale }];
        lookups.extend_from_slice(others);
        self.embed(&lookups)
    }

    /// As [`reorder`](Self::reorder) by the parents of those that go on ([`Picked::parents`]), without the host's knowing
    /// them: of a source's hypotheses, which are equally long.
    ///
    /// ```
    /// use seq2seq_core::{reference::Reference, *};
    ///
    /// let b = Reference;
    /// let mut cache = b.kv_cache(&CacheSpec {
    ///     layers: 1, kv_heads: 1, head_dim: 2, sequences: 1, beams: 2, capacity: 8, precision: Precision::F32,
    /// })?;
    /// b.reorder(&mut cache, &[0, 0])?;
    /// let logits = b.upload(&HostTensor::from_f32(vec![2, 3], &[0.1, 0.9, 0.5, 2.0, 1.0, 0.0])?)?;
    /// let beams = Beams {
    ///     width: 2, k: 2, keep: 4, order: ScoreOrder::NormaliseThenRules, scores: &[-2.0, -1.0], endings: &[],
    /// };
    /// let chosen = b.choose(&logits, &[], &Pick::Beams(beams))?;
    /// // A step of both hypotheses follows, each of which continues the second.
    /// b.reorder_chosen(&mut cache, &chosen)?;
    /// b.extend(&mut cache, &Ragged::single_rows(2))?;
    /// assert_eq!(b.chosen(&chosen)?.parents(), Some(&[1, 1][..]));
    /// # Ok::<(), seq2seq_core::Error>(())
    /// ```
    fn reorder_chosen(&self, cache: &mut Self::KvCache, chosen: &Self::Chosen) -> Result<()> {
        match self.chosen(chosen)?.parents() {
            Some(parents) => self.reorder(cache, parents),
            None => Ok(()),
        }
    }

    /// As [`gather_rows`](Backend::gather_rows) by the same parents; none where each hypothesis continues itself, so that x is
    /// as it should be.
    ///
    /// ```
    /// use seq2seq_core::{Backend, Beams, DecoderOps, HostTensor, Pick, ScoreOrder, reference::Reference};
    ///
    /// let b = Reference;
    /// let logits = b.upload(&HostTensor::from_f32(vec![2, 3], &[0.1, 0.9, 0.5, 2.0, 1.0, 0.0])?)?;
    /// let beams = Beams {
    ///     width: 2, k: 2, keep: 4, order: ScoreOrder::NormaliseThenRules, scores: &[-2.0, -1.0], endings: &[],
    /// };
    /// let chosen = b.choose(&logits, &[], &Pick::Beams(beams))?;
    /// let state = b.upload(&HostTensor::from_f32(vec![2, 1], &[5.0, 6.0])?)?;
    /// let next = b.gather_chosen(&state, &chosen)?;
    /// assert_eq!(next.map(|next| b.download(&next)).transpose()?, Some(vec![6.0, 6.0]));
    /// assert!(b.gather_chosen(&state, &b.choose(&logits, &[], &Pick::Best)?)?.is_none());
    /// # Ok::<(), seq2seq_core::Error>(())
    /// ```
    fn gather_chosen(
        &self,
        x: &Self::Tensor,
        chosen: &Self::Chosen,
    ) -> Result<Option<Self::Tensor>> {
        let picked = self.chosen(chosen)?;
        picked.parents().map(|parents| self.gather_rows(x, parents)).transpose()
    }
}

/// Attention of a decoder to an encoder's output.
///
/// ```
/// use seq2seq_core::{AttentionSpec, Backend, CrossAttentionOps, HostTensor, Precision, Ragged, reference::Reference};
///
/// let b = Reference;
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Key | value of two sources, of two positions and of one.
/// let kv = b.upload(&HostTensor::from_f32(vec![3, 2], &[0.0, 10.0, 3f32.ln(), 20.0, 0.0, 7.0])?)?;
/// let memory = b.memory(&kv, &Ragged::from_lengths([2, 1]), &spec)?;
/// // Three hypotheses of one row: two of the first source, one of the second.
/// let q = b.upload(&HostTensor::from_f32(vec![3, 1], &[1.0, 0.0, 1.0])?)?;
/// let mut weights = Vec::new();
/// let y = b.cross_attend(&q, &Ragged::single_rows(3), &memory, &[0, 0, 1], &spec, Some(&mut weights))?;
/// let near = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
/// assert!(near(&weights, &[0.25, 0.75, /**/ 0.5, 0.5, /**/ 1.0]));
/// assert!(near(&b.download(&y)?, &[17.5, 15.0, 7.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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

/// Everything that models need.
///
/// ```
/// use seq2seq_core::{Epilogue, LogitRule, Result, ScoreOrder, SeqBackend};
///
/// /// The likeliest next id of each row, but for those that it may not be.
/// fn choose<B: SeqBackend>(b: &B, x: &B::Tensor, head: &B::Linear, banned: &[u32]) -> Result<Vec<u32>> {
///     let logits = b.linear(x, head, Epilogue::NONE)?;
///     let rules = vec![vec![LogitRule::Ban(banned.to_vec())]; seq2seq_core::Rows::rows(x)];
///     Ok(b.top_k(&logits, 1, ScoreOrder::RulesThenNormalise, &rules)?.ids)
/// }
///
/// # use seq2seq_core::{Backend, Format, HostTensor, LinearSpec};
/// # let b = seq2seq_core::reference::Reference;
/// # let head = HostTensor::from_f32(vec![3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0])?;
/// # let head = b.pack(&LinearSpec::single(head, None), Format::F32)?;
/// # let x = b.upload(&HostTensor::from_f32(vec![2, 2], &[1.0, 2.0, 4.0, 1.0])?)?;
/// assert_eq!(choose(&b, &x, &head, &[])?, [2, 2]);
/// assert_eq!(choose(&b, &x, &head, &[2])?, [1, 0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub trait SeqBackend: DecoderOps + CrossAttentionOps + RecurrentOps + ConvolutionOps {}
impl<B: DecoderOps + CrossAttentionOps + RecurrentOps + ConvolutionOps> SeqBackend for B {}
