//! The operations of recurrent encoders and decoders.

use super::Backend;
use crate::{Format, HostTensor, Ragged, RecurrentSpec, Result};
use std::ops::Range;

/// Some columns of a tensor.
#[derive(Debug)]
pub struct Part<'a, T> {
    /// The tensor.
    pub tensor: &'a T,
    /// Its columns.
    pub columns: Range<usize>,
}

impl<'a, T: super::Rows> Part<'a, T> {
    /// All columns of `tensor`.
    pub fn all(tensor: &'a T) -> Self {
        Self { tensor, columns: 0..tensor.width() }
    }
}

/// LSTM and GRU, additive attention, and the rearrangement of rows and columns between them.
///
/// A layer is one [`linear`](Backend::linear) over all positions and one [`recur`](Self::recur). Multiplicative attention
/// (Luong et al. 2015) is [`cross_attend`](crate::CrossAttentionOps::cross_attend) with one head and scale 1, keys and
/// values both the encoder's output; their "general" score is a linear layer on the query, their "concat" the additive
/// one here.
pub trait RecurrentOps: Backend {
    /// Packed weights of [`recur`](Self::recur).
    type Recurrent: Send + Sync;
    /// The vector v of additive attention.
    type Additive: Send + Sync;
    /// Keys and values of additive attention, laid out once for a whole decoding.
    type AdditiveMemory: Send + Sync;

    /// Packs the recurrent half of a layer of D directions, each matrix as [`pack`](Backend::pack) does.
    fn recurrent(&self, spec: &RecurrentSpec, format: Format) -> Result<Self::Recurrent>;

    /// Runs a layer over sequences: the equations of [`Cell`](crate::Cell) at each position, U h + b being what
    /// [`linear`](Backend::linear) gives for that row in the layer's format, and h' and c' each rounded to f32.
    ///
    /// - `x`: `[N, D · gates · M]`, the input's projection with its bias (`weight_ih`, `bias_ih`), direction after direction;
    /// - `state`: what each sequence begins with, `[B, D · M]` or in an LSTM `[B, 2 · D · M]`: h of each direction, then c of
    ///   each direction. Zeros where absent.
    ///
    /// Gives h of each position, `[N, D · M]`, direction beside direction, and what each sequence ends with, shaped as
    /// `state`. Sequences may be empty; their state stays. So a layer of one direction can be run piece by piece, with the
    /// bits of the whole.
    fn recur(
        &self,
        x: &Self::Tensor,
        rows: &Ragged,
        layer: &Self::Recurrent,
        state: Option<&Self::Tensor>,
    ) -> Result<(Self::Tensor, Self::Tensor)>;

    /// The parts side by side: `[N, sum of widths]`. All have N rows.
    fn columns(&self, parts: &[Part<'_, Self::Tensor>]) -> Result<Self::Tensor>;

    /// The rows of each of `parts` in turn: `[sum of rows, width]`. All have one width.
    fn stack_rows(&self, parts: &[&Self::Tensor]) -> Result<Self::Tensor>;

    /// Takes over v, `[A]`.
    fn additive(&self, v: &HostTensor) -> Result<Self::Additive>;

    /// Lays out `keys`, `[N, A]`, and `values`, `[N, M]`, of source sequences.
    fn additive_memory(
        &self,
        keys: &Self::Tensor,
        values: &Self::Tensor,
        rows: &Ragged,
    ) -> Result<Self::AdditiveMemory>;

    /// Σ softmax(vᵀ tanh(q + key)) value (Bahdanau et al. 2015): row group i of `q` (`[N, A]`, divided by `rows`) over
    /// all positions of source `sources[i]` gives `[N, M]`. Where `weights` is given, the attention probabilities are
    /// appended: for each row one value a source position. An empty source gives zeros.
    fn additive_attend(
        &self,
        q: &Self::Tensor,
        rows: &Ragged,
        v: &Self::Additive,
        memory: &Self::AdditiveMemory,
        sources: &[usize],
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Self::Tensor>;
}
