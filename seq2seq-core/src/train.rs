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

mod dropout;
mod loss;
mod optimiser;
mod posterior;
mod recurrent;

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
pub type Gradient<T> = Option<T>;

/// Where a gradient goes; `None` where nobody wants it.
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
pub trait TrainBackend: SeqBackend + TrainRecurrentOps + OptimiserOps {
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

    /// [`attend`](crate::EncoderOps::attend), and ln Σ e^score of each row and head, `[N, H]`. Dropout is that of the
    /// probabilities: row n H + h, column the position of the key.
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
