//! The operations of recurrent encoders and decoders.

use super::Backend;
use crate::{Format, HostTensor, Ragged, RecurrentSpec, Result};
use std::ops::Range;

/// Some columns of a tensor.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Part, RecurrentOps, reference::Reference};
///
/// let b = Reference;
/// let x = b.upload(&HostTensor::from_f32(vec![2, 3], &[0.0, 1.0, 2.0, 10.0, 11.0, 12.0])?)?;
/// let y = b.upload(&HostTensor::from_f32(vec![2, 1], &[7.0, 8.0])?)?;
/// let both = b.columns(&[Part { tensor: &x, columns: 1..3 }, Part::all(&y)])?;
/// assert_eq!(b.download(&both)?, [1.0, 2.0, 7.0, /**/ 11.0, 12.0, 8.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{reference::Reference, *};
///
/// let b = Reference;
/// let host = |shape, values: &[f32]| HostTensor::from_f32(shape, values);
/// // A GRU of width 1 over rows of 2 columns: the product with the input, and what goes from position to position.
/// let input = LinearSpec::single(host(vec![3, 2], &[0.5, 0.0, 0.0, 0.5, 1.0, -1.0])?, None);
/// let weight = host(vec![3, 1], &[0.25, -0.5, 1.0])?;
/// let directions = vec![LinearPart { weight, bias: None, transposed: false }];
/// let input = b.pack(&input, Format::F32)?;
/// let layer = b.recurrent(&RecurrentSpec { cell: Cell::Gru, directions }, Format::F32)?;
///
/// let sources = Ragged::from_lengths([2, 1]);
/// let x = b.upload(&host(vec![3, 2], &[1.0, 2.0, -1.0, 0.5, 3.0, 1.0])?)?;
/// let (memory, state) = b.recur(&b.linear(&x, &input, Epilogue::NONE)?, &sources, &layer, None)?;
/// // The state is what the last positions gave.
/// let last = b.gather_rows(&memory, &sources.last_rows()?)?;
/// assert_eq!(b.download(&state)?, b.download(&last)?);
///
/// // A decoder attends to all of it by Bahdanau's score; keys and values are the same here.
/// let v = b.additive(&host(vec![1], &[2.0])?)?;
/// let keys = b.additive_memory(&memory, &memory, &sources)?;
/// let mut weights = Vec::new();
/// let context = b.additive_attend(&state, &Ragged::single_rows(2), &v, &keys, &[0, 1], Some(&mut weights))?;
/// assert!((weights[0] + weights[1] - 1.0).abs() < 1e-6 && weights[2] == 1.0);
/// // What the next layer reads: state and context of each hypothesis side by side.
/// let fed = b.columns(&[Part::all(&state), Part::all(&context)])?;
/// assert_eq!(b.download(&fed)?.len(), 2 * 2);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
