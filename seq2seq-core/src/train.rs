//! What a backend adds so that models can be trained on it: one backward for each differentiable operation, fused as the
//! forward is ([`TrainRecurrentOps`] has those of recurrent models), the loss, dropout, and the steps of the optimisers
//! ([`OptimiserOps`]).
//!
//! A backward adds to a [`Gradient`]: the first term is written, later ones are added, so nothing is filled with
//! zeros and a tensor that is used twice (a residual stream, a tied table) sums in place. What a forward keeps for its
//! backward is returned beside its result; what is cheap to have again is not kept:
//!
//! | operation | keeps | has again |
//! |---|---|---|
//! | linear | with an activation or a gate, the sums before it | activation and slope |
//! | norm | | mean and deviation |
//! | attention | the logarithm of each softmax's denominator | scores and probabilities (Dao 2023, FlashAttention-2) |
//! | dropout | | which elements were dropped ([`Dropout`]) |
//! | recurrence | the gates, and c' of an LSTM ([`Recurred`]) | tanh c' |
//! | additive attention | the probabilities | tanh of query and key |
//! | draw of a posterior | σ ε / 2, on the host ([`Posteriors`]) | |
//!
//! **Deterministic**: the same bits for any number of threads. Gradients of weights sum over the rows of a batch, so
//! they do depend on the batch.
//!
//! Weights are f32 tensors in the layout of their checkpoint, called masters. What forward and backward read is packed
//! from them anew after each step ([`TrainBackend::repack`]); in [`Format::Bf16`] that is all there is to training in
//! bf16.
//!
//! # One layer
//!
//! ```
//! use seq2seq_core::{Backend, Format, HostTensor, reference::Reference};
//! use seq2seq_core::train::{
//!     AdamW, LinearBackward, LinearGradients, MasterPart, Masters, OptimiserOps, Smoothing, TrainBackend, TrainEpilogue,
//! };
//!
//! fn masters<T>(weight: &T) -> Masters<'_, T> {
//!     Masters { parts: vec![MasterPart { weight, bias: None, transposed: false }], gated: false, scale: 1.0 }
//! }
//!
//! // Two rows of three columns, to be told apart.
//! let b = Reference;
//! let x = b.upload(&HostTensor::from_f32(vec![2, 3], &[1.0, 0.5, 0.0, 0.0, 0.5, 1.0])?)?;
//! let mut weight = b.zeros(2, 3)?;
//! let mut moments = [b.zeros(2, 3)?, b.zeros(2, 3)?];
//! let mut layer = b.pack_masters(&masters(&weight), Format::F32)?;
//! let mut losses = Vec::new();
//! for step in 1..=20 {
//!     let epilogue = TrainEpilogue { activation: None, dropout: None, residual: None };
//!     let (logits, sums) = b.linear_forward(&x, &layer, &epilogue, true)?;
//!     let (loss, dy) = b.cross_entropy(&logits, &[Some(0), Some(1)], Smoothing::None)?;
//!     losses.push(loss.sum / loss.tokens as f64);
//!
//!     let mut gradient = None;
//!     let of = LinearBackward { x: &x, sums: sums.as_ref(), activation: None, dropout: None, dy: &dy };
//!     // Nobody wants the gradient of x, and there is no bias.
//!     b.linear_backward(&layer, &of, LinearGradients { x: None, parts: vec![[Some(&mut gradient), None]] })?;
//!
//!     let settings = AdamW { rate: 0.1, step, gradient_scale: 1.0 / loss.tokens as f32, ..AdamW::default() };
//!     if let Some(gradient) = &gradient {
//!         b.adamw(&settings, &mut weight, gradient, &mut moments)?;
//!     }
//!     b.repack(&mut layer, &masters(&weight))?;
//! }
//! assert!((losses[0] - 2f64.ln()).abs() < 1e-6 && losses[19] < 0.1, "{losses:?}");
//! # Ok::<(), seq2seq_core::Error>(())
//! ```
//!
//! [`Autodiff`](crate::autodiff::Autodiff) does all of it for whole models.
//!
//! # A recurrent layer
//!
//! ```
//! use seq2seq_core::{Backend, Cell, Format, HostTensor, Ragged, reference::Reference};
//! use seq2seq_core::train::{MasterPart, RecurBackward, RecurPass, Recurred, RecurrentMasters, TrainRecurrentOps};
//!
//! let b = Reference;
//! let upload = |rows, width, values: &[f32]| b.upload(&HostTensor::from_f32(vec![rows, width], values)?);
//! // A GRU of width 1, which has three gates.
//! let weight = upload(3, 1, &[0.5, -0.25, 1.0])?;
//! let directions = vec![MasterPart { weight: &weight, bias: None, transposed: false }];
//! let layer = b.pack_recurrent(&RecurrentMasters { cell: Cell::Gru, directions }, Format::F32)?;
//!
//! let rows = Ragged::from_lengths([2]);
//! let x = upload(2, 3, &[0.1, 0.2, 0.3, -0.3, 0.2, 0.1])?;
//! let Recurred { y, kept, .. } = b.recur_forward(&x, &rows, &layer, None, true)?;
//! let kept = kept.ok_or("nothing was kept")?;
//!
//! // The loss is the last h. Positions first, and then the weights, over all passes there were.
//! let (dy, mut dx) = (upload(2, 1, &[0.0, 1.0])?, None);
//! let of = RecurBackward { rows: &rows, state: None, y: &y, kept: &kept, dy: Some(&dy), dend: None };
//! let du = b.recur_backward(&layer, &of, Some(&mut dx), None)?;
//! let passes = [RecurPass { rows: &rows, state: None, y: &y, du: &du }];
//! let (mut weights, mut bias) = (None, None);
//! b.recur_weights_backward(&layer, &passes, vec![[Some(&mut weights), Some(&mut bias)]])?;
//!
//! // What moving the first input by a little does to the last h is what its gradient says.
//! let slope = b.download(&dx.ok_or("no gradient")?)?[2];
//! let moved = b.recur_forward(&upload(2, 3, &[0.1, 0.2, 0.301, -0.3, 0.2, 0.1])?, &rows, &layer, None, false)?;
//! let difference = (b.download(&moved.y)?[1] - b.download(&y)?[1]) / 0.001;
//! assert!((slope - difference).abs() < 1e-3, "{slope} {difference}");
//! assert_eq!(b.download(&weights.ok_or("no gradient")?)?.len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod convolution;
mod dropout;
mod loss;
mod optimiser;
mod posterior;
mod recurrent;

pub use convolution::TrainConvolutionOps;
pub use dropout::Dropout;
pub use loss::{Loss, Smoothing};
pub use optimiser::{Adafactor, AdamW, Factors, Muon, OptimiserOps, Second, Sgd};
pub(crate) use posterior::draw_backward;
pub use posterior::{Divergence, DivergenceWeight, Posteriors};
pub use recurrent::{
    AdditiveBackward, AdditiveGradients, RecurBackward, RecurPass, Recurred, RecurrentMasters,
    TrainRecurrentOps,
};

use crate::{Activation, AttentionSpec, Format, Lookup, Pool, Ragged, Result, SeqBackend};

/// A sum of gradients; `None` is zero.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, reference::Reference, train::{Gradient, TrainBackend}};
///
/// let b = Reference;
/// let mut sum: Gradient<_> = None;
/// for term in [[1.0, 2.0], [0.5, 0.0]] {
///     b.add(b.upload(&HostTensor::from_f32(vec![1, 2], &term)?)?, &mut sum)?;
/// }
/// assert_eq!(sum.map(|sum| b.download(&sum)).transpose()?, Some(vec![1.5, 2.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub type Gradient<T> = Option<T>;

/// Where a gradient goes; `None` where nobody wants it.
///
/// ```
/// use seq2seq_core::train::{Gradient, Wanted};
///
/// /// Where the gradient of a parameter goes; nowhere while it is frozen.
/// fn wanted<T>(frozen: bool, gradient: &mut Gradient<T>) -> Wanted<'_, T> {
///     (!frozen).then_some(gradient)
/// }
///
/// let mut gradient: Gradient<f32> = None;
/// assert!(wanted(true, &mut gradient).is_none());
/// if let Some(gradient) = wanted(false, &mut gradient) {
///     *gradient = Some(1.0); // as a backward would
/// }
/// assert_eq!(gradient, Some(1.0));
/// ```
pub type Wanted<'a, T> = Option<&'a mut Gradient<T>>;

/// A matrix of a linear layer to be trained.
#[derive(Debug, Clone, Copy)]
pub struct MasterPart<'a, T> {
    /// `[out, in]`, or `[in, out]` where `transposed`.
    pub weight: &'a T,
    /// `[1, out]`
    pub bias: Option<&'a T>,
    /// Whether `weight` is `[in, out]`.
    pub transposed: bool,
}

/// A linear layer to be packed for training; the fields are those of [`LinearSpec`](crate::LinearSpec).
#[derive(Debug, Clone)]
pub struct Masters<'a, T> {
    /// Side by side.
    pub parts: Vec<MasterPart<'a, T>>,
    /// Two parts, gate and up.
    pub gated: bool,
    /// Multiplies the product.
    pub scale: f32,
}

/// What [`TrainBackend::linear_forward`] does to a finished sum: activation (or gate), dropout, residual.
///
/// ```
/// use seq2seq_core::{Backend, Format, HostTensor, reference::Reference};
/// use seq2seq_core::train::{Dropout, MasterPart, Masters, TrainBackend, TrainEpilogue};
///
/// let b = Reference;
/// let one = b.upload(&HostTensor::from_f32(vec![1, 1], &[1.0])?)?;
/// let parts = vec![MasterPart { weight: &one, bias: None, transposed: false }];
/// let layer = b.pack_masters(&Masters { parts, gated: false, scale: 1.0 }, Format::F32)?;
/// let x = b.upload(&HostTensor::from_f32(vec![100, 1], &[1.0; 100])?)?;
///
/// // The residual is added to what dropout has left, and none of it is dropped.
/// let dropout = Dropout { rate: 0.5, seed: 1, step: 0, place: 0 };
/// let epilogue = TrainEpilogue { activation: None, dropout: Some(dropout), residual: Some(&x) };
/// let (y, _) = b.linear_forward(&x, &layer, &epilogue, false)?;
/// for (row, y) in b.download(&y)?.into_iter().enumerate() {
///     assert_eq!(y, dropout.factor(row, 0) + 1.0); // 0 or 2, and 1
/// }
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TrainEpilogue<'a, T> {
    /// As in [`Epilogue`](crate::Epilogue).
    pub activation: Option<Activation>,
    /// Of what the activation gives, before the residual is added.
    pub dropout: Option<Dropout>,
    /// `[N, out]`, added last.
    pub residual: Option<&'a T>,
}

/// What the backward of a linear layer starts from.
#[derive(Debug)]
pub struct LinearBackward<'a, T> {
    /// The input, `[N, in]`.
    pub x: &'a T,
    /// What the forward kept.
    pub sums: Option<&'a T>,
    /// Of the forward's epilogue.
    pub activation: Option<Activation>,
    /// Of the forward's epilogue.
    pub dropout: Option<Dropout>,
    /// The gradient of the result, `[N, out]`.
    pub dy: &'a T,
}

/// Where the gradients of a linear layer go. That of the residual is `dy` itself.
#[derive(Debug)]
pub struct LinearGradients<'a, T> {
    /// `[N, in]`
    pub x: Wanted<'a, T>,
    /// Of each part: that of the weight in its layout, that of the bias `[1, out]`.
    pub parts: Vec<[Wanted<'a, T>; 2]>,
}

/// Where the gradients of a normalisation go.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, NormKind, NormSpec, reference::Reference};
/// use seq2seq_core::train::{NormGradients, TrainBackend};
///
/// let b = Reference;
/// let (weight, bias) = (HostTensor::from_f32(vec![2], &[1.0, 1.0])?, HostTensor::from_f32(vec![2], &[0.0, 0.0])?);
/// let norm = b.norm_weights(&NormSpec { kind: NormKind::Layer, eps: 0.0, weight, bias: Some(bias) })?;
/// // Both rows are normalised to -1 and 1.
/// let x = b.upload(&HostTensor::from_f32(vec![2, 2], &[1.0, 7.0, 2.0, 4.0])?)?;
/// let dy = b.upload(&HostTensor::from_f32(vec![2, 2], &[1.0, 0.0, 1.0, 2.0])?)?;
/// let (mut weight, mut bias) = (None, None);
/// b.norm_backward(&x, &norm, &dy, NormGradients { x: None, weight: Some(&mut weight), bias: Some(&mut bias) })?;
/// let values = |gradient: Option<_>| gradient.map(|g| b.download(&g)).transpose();
/// assert_eq!(values(weight)?, Some(vec![-2.0, 2.0]));
/// assert_eq!(values(bias)?, Some(vec![2.0, 2.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct NormGradients<'a, T> {
    /// As wide as x: M, or runs of M columns.
    pub x: Wanted<'a, T>,
    /// `[1, M]`
    pub weight: Wanted<'a, T>,
    /// `[1, M]`
    pub bias: Wanted<'a, T>,
}

/// What the backward of an attention within sequences starts from.
///
/// ```
/// use seq2seq_core::{AttentionSpec, Backend, HostTensor, Precision, Ragged, reference::Reference};
/// use seq2seq_core::train::{AttendBackward, TrainBackend};
///
/// let b = Reference;
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// let rows = Ragged::from_lengths([2]);
/// // Query | key | value of two positions.
/// let qkv = b.upload(&HostTensor::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 0.0, 2.0, 5.0])?)?;
/// let (y, log_sums) = b.attend_forward(&qkv, &rows, &spec, None, None)?;
/// let dy = b.upload(&HostTensor::from_f32(vec![2, 1], &[0.0, 1.0])?)?;
/// let of = AttendBackward {
///     qkv: &qkv, y: &y, log_sums: &log_sums, rows: &rows, spec: &spec, bias: None, dropout: None, dy: &dy,
/// };
/// let mut dqkv = None;
/// b.attend_backward(&of, Some(&mut dqkv), None)?;
/// let gradient = b.download(&dqkv.ok_or("no gradient")?)?;
/// // The second position sees two equal keys: its result is the mean of the values.
/// assert!((gradient[2] - 0.5).abs() < 1e-6 && (gradient[5] - 0.5).abs() < 1e-6);
/// assert_eq!(gradient[0], 0.0); // nothing depends on the query of the first
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AttendBackward<'a, T, R> {
    /// The input, `[N, (H + 2 G) D]`.
    pub qkv: &'a T,
    /// The result, `[N, H D]`.
    pub y: &'a T,
    /// What the forward kept, `[N, H]`.
    pub log_sums: &'a T,
    /// How N divides into sequences.
    pub rows: &'a Ragged,
    /// The attention.
    pub spec: &'a AttentionSpec,
    /// Its relative bias.
    pub bias: Option<&'a R>,
    /// Of the probabilities.
    pub dropout: Option<Dropout>,
    /// The gradient of the result.
    pub dy: &'a T,
}

/// What the backward of an attention to a memory starts from.
///
/// ```
/// use seq2seq_core::{AttentionSpec, Backend, CrossAttentionOps, HostTensor, Precision, Ragged, reference::Reference};
/// use seq2seq_core::train::{CrossBackward, TrainBackend};
///
/// let b = Reference;
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Key | value of two sources of one position; both targets read the second.
/// let (rows, source_rows, sources) = (Ragged::from_lengths([2, 1]), Ragged::single_rows(2), [1, 1]);
/// let kv = b.upload(&HostTensor::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])?)?;
/// let memory = b.memory(&kv, &source_rows, &spec)?;
/// let q = b.upload(&HostTensor::from_f32(vec![3, 1], &[0.5, -0.5, 1.0])?)?;
/// let (y, log_sums) = b.cross_attend_forward(&q, &rows, &memory, &sources, &spec, None)?;
/// let dy = b.upload(&HostTensor::from_f32(vec![3, 1], &[1.0, 1.0, 1.0])?)?;
/// let of = CrossBackward {
///     q: &q, y: &y, log_sums: &log_sums, rows: &rows, kv: &kv, source_rows: &source_rows, memory: &memory,
///     sources: &sources, spec: &spec, dropout: None, dy: &dy,
/// };
/// let mut dkv = None;
/// b.cross_attend_backward(&of, None, Some(&mut dkv))?;
/// // Its value is each of the three results.
/// let gradient = b.download(&dkv.ok_or("no gradient")?)?;
/// assert_eq!((&gradient[..2], gradient[3]), (&[0.0, 0.0][..], 3.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CrossBackward<'a, T, M> {
    /// The queries, `[N, H D]`.
    pub q: &'a T,
    /// The result, `[N, H D]`.
    pub y: &'a T,
    /// What the forward kept, `[N, H]`.
    pub log_sums: &'a T,
    /// How N divides into groups of queries.
    pub rows: &'a Ragged,
    /// What the memory was made from, `[S, 2 G D]`.
    pub kv: &'a T,
    /// How S divides into sources.
    pub source_rows: &'a Ragged,
    /// The memory itself.
    pub memory: &'a M,
    /// The source of each group.
    pub sources: &'a [usize],
    /// The attention.
    pub spec: &'a AttentionSpec,
    /// Of the probabilities.
    pub dropout: Option<Dropout>,
    /// The gradient of the result.
    pub dy: &'a T,
}

/// Ids that rows of a table were looked up by.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, reference::Reference, train::{Looked, TrainBackend}};
///
/// let b = Reference;
/// let dy = b.upload(&HostTensor::from_f32(vec![3, 1], &[1.0, 10.0, 100.0])?)?;
/// let mut table = None;
/// b.embed_backward(Looked { ids: &[2, 0, 2], scale: 0.5, table_rows: 4 }, &dy, &mut table)?;
/// // Row 2 was looked up twice, the rows 1 and 3 never.
/// assert_eq!(table.map(|table| b.download(&table)).transpose()?, Some(vec![5.0, 0.0, 50.5, 0.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Looked<'a> {
    /// One row index for each of the N rows.
    pub ids: &'a [u32],
    /// What the row was multiplied by.
    pub scale: f32,
    /// Rows of the table.
    pub table_rows: usize,
}

/// A backend that models can be trained on. Each backward has the errors of its forward for the same mistakes.
pub trait TrainBackend:
    SeqBackend + TrainRecurrentOps + TrainConvolutionOps + OptimiserOps
{
    /// A linear layer, packed for both directions.
    type TrainLinear: Send + Sync;

    /// Packs a layer for training: [`Format::F32`] or [`Format::Bf16`].
    ///
    /// # Errors
    /// As [`pack`](crate::Backend::pack), and [`Error::Unsupported`](crate::Error::Unsupported) for another format.
    fn pack_masters(
        &self,
        masters: &Masters<'_, Self::Tensor>,
        format: Format,
    ) -> Result<Self::TrainLinear>;

    /// Packs the layer again from masters that have changed; shapes and all else stay.
    fn repack(
        &self,
        layer: &mut Self::TrainLinear,
        masters: &Masters<'_, Self::Tensor>,
    ) -> Result<()>;

    /// [`linear`](crate::Backend::linear), to the bit where there is no dropout; where `keep` is set, also the sums before the
    /// activation, `[N, gate | up]` or `[N, out]`, if there is one or a gate.
    fn linear_forward(
        &self,
        x: &Self::Tensor,
        layer: &Self::TrainLinear,
        epilogue: &TrainEpilogue<'_, Self::Tensor>,
        keep: bool,
    ) -> Result<(Self::Tensor, Option<Self::Tensor>)>;

    /// With z the sums, a the activation and dy after dropout: dz = dy a'(z); in a gated layer dy u a'(g) and dy a(g) side
    /// by side. Then dx = scale · dz W, dW = scale · dzᵀ x, db = Σ dz over the rows.
    ///
    /// In bf16, dz, W and x are rounded to bf16 (nearest, ties to even) before they are multiplied; db sums the unrounded.
    fn linear_backward(
        &self,
        layer: &Self::TrainLinear,
        of: &LinearBackward<'_, Self::Tensor>,
        gradients: LinearGradients<'_, Self::Tensor>,
    ) -> Result<()>;

    /// [`embed`](crate::Backend::embed) from masters.
    fn embed_masters(&self, lookups: &[Lookup<'_, Self::Tensor>]) -> Result<Self::Tensor>;

    /// Adds scale · `dy` of each row to the row of the table that it was looked up in. A table that had no gradient gets
    /// one of all its rows.
    fn embed_backward(
        &self,
        looked: Looked<'_>,
        dy: &Self::Tensor,
        table: &mut Gradient<Self::Tensor>,
    ) -> Result<()>;

    /// Takes over weights that have changed, `[1, M]`.
    fn renew_norm(
        &self,
        norm: &mut Self::Norm,
        weight: &Self::Tensor,
        bias: Option<&Self::Tensor>,
    ) -> Result<()>;

    /// Of each run of M columns. With x̂ = (x - mean) r, r = 1 / √(variance + eps), and g = dy · weight:
    /// dx = r (g - mean(g) - x̂ mean(g x̂)), dweight = Σ dy x̂, dbias = Σ dy. In RMSNorm the means of x and g are left out.
    fn norm_backward(
        &self,
        x: &Self::Tensor,
        norm: &Self::Norm,
        dy: &Self::Tensor,
        gradients: NormGradients<'_, Self::Tensor>,
    ) -> Result<()>;

    /// Takes over a `[buckets, H]` table that has changed.
    fn renew_relative_bias(
        &self,
        bias: &mut Self::RelativeBias,
        table: &Self::Tensor,
    ) -> Result<()>;

    /// What of an attention a pass that is trained on computes: in f32, or in its own
    /// [`Precision`](crate::Precision), where the backend's way forward and back is faster then. A memory that is trained on is
    /// made for it.
    ///
    /// ```
    /// use seq2seq_core::{AttentionSpec, Precision, reference::Reference, train::TrainBackend};
    ///
    /// let spec = AttentionSpec {
    ///     heads: 4, kv_heads: 2, head_dim: 16, scale: 0.25, causal: true, rotary: None, dropout: 0.0,
    ///     precision: Precision::Bf16,
    /// };
    /// assert_eq!(Reference.trained_attention(&spec), spec.trained()); // which is f32
    /// ```
    fn trained_attention(&self, spec: &AttentionSpec) -> AttentionSpec {
        spec.trained()
    }

    /// [`attend`](crate::EncoderOps::attend), and ln Σ e^score of each row and head, `[N, H]`; to the bit where there is no
    /// dropout and both are in one precision. Dropout is that of the probabilities: row n H + h, column the position of the key.
    fn attend_forward(
        &self,
        qkv: &Self::Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&Self::RelativeBias>,
        dropout: Option<Dropout>,
    ) -> Result<(Self::Tensor, Self::Tensor)>;

    /// With p the probabilities, m their dropout and dp = m (dy · v): ds = p (dp - Σ p dp), and then dq = scale · ds k,
    /// dk = scale · dsᵀ q, dv = (m p)ᵀ dy; dq and dk are rotated back. The gradient of the table, `[buckets, H]`, sums ds by
    /// bucket.
    fn attend_backward(
        &self,
        of: &AttendBackward<'_, Self::Tensor, Self::RelativeBias>,
        qkv: Wanted<'_, Self::Tensor>,
        table: Wanted<'_, Self::Tensor>,
    ) -> Result<()>;

    /// [`cross_attend`](crate::CrossAttentionOps::cross_attend) without weights, and ln Σ e^score of each row and head,
    /// `[N, H]`: minus infinity where the source is empty.
    fn cross_attend_forward(
        &self,
        q: &Self::Tensor,
        rows: &Ragged,
        memory: &Self::Memory,
        sources: &[usize],
        spec: &AttentionSpec,
        dropout: Option<Dropout>,
    ) -> Result<(Self::Tensor, Self::Tensor)>;

    /// As [`attend_backward`](Self::attend_backward); the gradient of keys and values is `[S, 2 G D]`.
    fn cross_attend_backward(
        &self,
        of: &CrossBackward<'_, Self::Tensor, Self::Memory>,
        q: Wanted<'_, Self::Tensor>,
        kv: Wanted<'_, Self::Tensor>,
    ) -> Result<()>;

    /// Adds row i of `dy` to row `rows[i]` of a gradient of `count` rows.
    fn gather_rows_backward(
        &self,
        dy: &Self::Tensor,
        rows: &[usize],
        count: usize,
        dx: &mut Gradient<Self::Tensor>,
    ) -> Result<()>;

    /// `dy` is `[B, width]`.
    fn pool_backward(
        &self,
        dy: &Self::Tensor,
        rows: &Ragged,
        pool: Pool,
        dx: &mut Gradient<Self::Tensor>,
    ) -> Result<()>;

    /// x times the [`factor`](Dropout::factor) of its row and column; also the backward of that.
    fn apply_dropout(&self, x: &Self::Tensor, dropout: Dropout) -> Result<Self::Tensor>;

    /// The cross-entropy of `[N, V]` logits, summed over the rows that have a target, and the gradient of that sum.
    ///
    /// # Errors
    /// Where there are not N targets, and for a target outside the vocabulary.
    fn cross_entropy(
        &self,
        logits: &Self::Tensor,
        targets: &[Option<u32>],
        smoothing: Smoothing,
    ) -> Result<(Loss, Self::Tensor)>;

    /// gradient += x
    fn add(&self, x: Self::Tensor, gradient: &mut Gradient<Self::Tensor>) -> Result<()>;
}
