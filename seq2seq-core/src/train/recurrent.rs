//! The way back of the operations of recurrent models.

use super::{Gradient, MasterPart, Wanted};
use crate::{Cell, Format, Ragged, RecurrentOps, Result};
use std::ops::Range;

/// The recurrent half of a layer to be packed for training, as [`RecurrentSpec`](crate::RecurrentSpec) has it.
#[derive(Debug, Clone)]
pub struct RecurrentMasters<'a, T> {
    /// Which equations.
    pub cell: Cell,
    /// Of each direction U and b; not transposed.
    pub directions: Vec<MasterPart<'a, T>>,
}

/// What [`TrainRecurrentOps::recur_forward`] gives.
#[derive(Debug)]
pub struct Recurred<T> {
    /// h of each position, `[N, D · M]`.
    pub y: T,
    /// What each sequence ends with, `[B, state]`.
    pub end: T,
    /// What the way back needs of each position, `[N, D · kept · M]` ([`Cell::kept`]), direction after direction: i, f, g, o and
    /// c' of an LSTM, r, z, n and u_n of a GRU. `None` where it was not asked for.
    pub kept: Option<T>,
}

/// What the backward of a recurrence starts from.
#[derive(Debug)]
pub struct RecurBackward<'a, T> {
    /// How N divides into sequences.
    pub rows: &'a Ragged,
    /// What each sequence began with.
    pub state: Option<&'a T>,
    /// The result.
    pub y: &'a T,
    /// What the forward kept.
    pub kept: &'a T,
    /// The gradient of the result; zero where absent.
    pub dy: Option<&'a T>,
    /// The gradient of what the sequences ended with, `[B, state]`; zero where absent.
    pub dend: Option<&'a T>,
}

/// A pass of a recurrence, for the gradients of its weights.
#[derive(Debug)]
pub struct RecurPass<'a, T> {
    /// How N divides into sequences.
    pub rows: &'a Ragged,
    /// What each sequence began with.
    pub state: Option<&'a T>,
    /// The result.
    pub y: &'a T,
    /// What [`TrainRecurrentOps::recur_backward`] gave.
    pub du: &'a T,
}

/// What the backward of additive attention starts from.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Ragged, RecurrentOps, reference::Reference};
/// use seq2seq_core::train::{AdditiveBackward, AdditiveGradients, TrainRecurrentOps};
///
/// let b = Reference;
/// let upload = |rows, width, values: &[f32]| b.upload(&HostTensor::from_f32(vec![rows, width], values)?);
/// // One source of two positions with equal keys, one query.
/// let (rows, source_rows, sources) = (Ragged::single_rows(1), Ragged::from_lengths([2]), [0]);
/// let v = b.additive(&HostTensor::from_f32(vec![1], &[2.0])?)?;
/// let memory = b.additive_memory(&upload(2, 1, &[0.5, 0.5])?, &upload(2, 2, &[1.0, 2.0, 3.0, 6.0])?, &source_rows)?;
/// let q = upload(1, 1, &[0.25])?;
/// let (y, weights) = b.additive_attend_forward(&q, &rows, &v, &memory, &sources)?;
/// assert_eq!((b.download(&weights)?, b.download(&y)?), (vec![0.5, 0.5], vec![2.0, 4.0]));
///
/// let (dy, mut values) = (upload(1, 2, &[1.0, 0.0])?, None);
/// let of = AdditiveBackward { q: &q, weights: &weights, rows: &rows, v: &v, memory: &memory, sources: &sources, dy: &dy };
/// let gradients = AdditiveGradients { q: None, keys: None, values: Some(&mut values), v: None };
/// b.additive_attend_backward(&of, gradients)?;
/// assert_eq!(values.map(|values| b.download(&values)).transpose()?, Some(vec![0.5, 0.0, 0.5, 0.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct AdditiveBackward<'a, T, V, M> {
    /// The queries, `[N, A]`.
    pub q: &'a T,
    /// What the forward kept, `[N, longest source]`.
    pub weights: &'a T,
    /// How N divides into groups of queries.
    pub rows: &'a Ragged,
    /// The vector of the scores.
    pub v: &'a V,
    /// Keys and values.
    pub memory: &'a M,
    /// The source of each group.
    pub sources: &'a [usize],
    /// The gradient of the result, `[N, M]`.
    pub dy: &'a T,
}

/// Where the gradients of additive attention go.
///
/// ```
/// use seq2seq_core::{reference::Tensor, train::{AdditiveGradients, Gradient}};
///
/// /// What a pass wants: v is a parameter; q, keys and values go on to what they were made from.
/// fn wanted<'a>(v: &'a mut Gradient<Tensor>, others: &'a mut [Gradient<Tensor>; 3]) -> AdditiveGradients<'a, Tensor> {
///     let [q, keys, values] = others.each_mut().map(Some);
///     AdditiveGradients { q, keys, values, v: Some(v) }
/// }
///
/// let (mut v, mut others) = (None, [None, None, None]);
/// assert!(wanted(&mut v, &mut others).keys.is_some());
/// ```
#[derive(Debug)]
pub struct AdditiveGradients<'a, T> {
    /// `[N, A]`
    pub q: Wanted<'a, T>,
    /// `[S, A]`
    pub keys: Wanted<'a, T>,
    /// `[S, M]`
    pub values: Wanted<'a, T>,
    /// `[1, A]`
    pub v: Wanted<'a, T>,
}

/// Recurrent layers, additive attention, and the rearrangement of rows and columns between them, on the way back.
///
/// A recurrence comes back in two steps: [`recur_backward`](Self::recur_backward) walks through the positions, and
/// [`recur_weights_backward`](Self::recur_weights_backward) has the gradients of the weights, one product over all positions.
/// A decoder that is fed with what it gave recurs once a step; so the second takes any number of passes, and the product is one
/// over the rows of all of them, not one a step over a few.
pub trait TrainRecurrentOps: RecurrentOps {
    /// The recurrent half of a layer, packed for both directions.
    type TrainRecurrent: Send + Sync;

    /// Packs the recurrent half of a layer for training: [`Format::F32`] or [`Format::Bf16`].
    ///
    /// # Errors
    /// As [`recurrent`](RecurrentOps::recurrent), and [`Error::Unsupported`](crate::Error::Unsupported) for another format.
    fn pack_recurrent(
        &self,
        masters: &RecurrentMasters<'_, Self::Tensor>,
        format: Format,
    ) -> Result<Self::TrainRecurrent>;

    /// Packs it again from masters that have changed; shapes and all else stay.
    fn repack_recurrent(
        &self,
        layer: &mut Self::TrainRecurrent,
        masters: &RecurrentMasters<'_, Self::Tensor>,
    ) -> Result<()>;

    /// [`recur`](RecurrentOps::recur), to the bit; where `keep` is set, also what the way back needs. That is as much as the
    /// projected input and, in an LSTM, c'; nobody needs the input any longer, so the gates take the place that it had.
    fn recur_forward(
        &self,
        x: &Self::Tensor,
        rows: &Ragged,
        layer: &Self::TrainRecurrent,
        state: Option<&Self::Tensor>,
        keep: bool,
    ) -> Result<Recurred<Self::Tensor>>;

    /// From the last position of each direction to its first, with dh the gradient of h', which is dy and what comes back from
    /// the next position; likewise dc; and a each gate before its function:
    ///
    /// ```text
    /// LSTM   dc' = dc + dh o (1 - tanh² c')
    ///        da_i = dc' g i (1 - i)   da_f = dc' c f (1 - f)   da_g = dc' i (1 - g²)   da_o = dh tanh c' o (1 - o)
    ///        back to the position before: dc = dc' f, dh = Uᵀ da;   dx = du = da
    /// GRU    da_n = dh (1 - z) (1 - n²)   da_z = dh (h - n) z (1 - z)   da_r = da_n u_n r (1 - r)
    ///        dx = (da_r, da_z, da_n)   du = (da_r, da_z, da_n r);   dh = dh z + Uᵀ du
    /// ```
    ///
    /// Gives du, the gradients of U h + b, `[N, D · gates · M]`. In bf16, du and U are rounded to bf16 (nearest, ties to even)
    /// before they are multiplied.
    fn recur_backward(
        &self,
        layer: &Self::TrainRecurrent,
        of: &RecurBackward<'_, Self::Tensor>,
        x: Wanted<'_, Self::Tensor>,
        state: Wanted<'_, Self::Tensor>,
    ) -> Result<Self::Tensor>;

    /// Adds dU = Σ du hᵀ, h being the state before a position, and db = Σ du over all positions of `passes`. `gradients` has
    /// those of weight and bias, `[1, gates · M]`, of each direction.
    ///
    /// In bf16, du and h are rounded to bf16 before they are multiplied; db sums the unrounded.
    fn recur_weights_backward(
        &self,
        layer: &Self::TrainRecurrent,
        passes: &[RecurPass<'_, Self::Tensor>],
        gradients: Vec<[Wanted<'_, Self::Tensor>; 2]>,
    ) -> Result<()>;

    /// Adds the columns of `dy` from `from` on to the gradient of a part of [`columns`](RecurrentOps::columns): `part` is its
    /// width and which columns of it stand there.
    fn columns_backward(
        &self,
        dy: &Self::Tensor,
        from: usize,
        part: (usize, Range<usize>),
        gradient: &mut Gradient<Self::Tensor>,
    ) -> Result<()>;

    /// Adds rows `rows` of `dy` to the gradient of a part of [`stack_rows`](RecurrentOps::stack_rows).
    fn stack_rows_backward(
        &self,
        dy: &Self::Tensor,
        rows: Range<usize>,
        gradient: &mut Gradient<Self::Tensor>,
    ) -> Result<()>;

    /// Takes over a vector v that has changed, `[1, A]`.
    fn renew_additive(&self, held: &mut Self::Additive, v: &Self::Tensor) -> Result<()>;

    /// [`additive_attend`](RecurrentOps::additive_attend), to the bit, and the probabilities, `[N, longest source]`: those of
    /// each row from the first column on, and zeros behind them. They are few; the tanh of each query and key, of which there
    /// are A times as many, is computed again.
    fn additive_attend_forward(
        &self,
        q: &Self::Tensor,
        rows: &Ragged,
        v: &Self::Additive,
        memory: &Self::AdditiveMemory,
        sources: &[usize],
    ) -> Result<(Self::Tensor, Self::Tensor)>;

    /// With p the probabilities, t = tanh(q + key), dp = dy · value and ds = p (dp - Σ p dp): dvalue = Σ p dy,
    /// dv = Σ ds t, and dq = dkey = ds v (1 - t²), summed over the positions for q and over the queries for a key.
    fn additive_attend_backward(
        &self,
        of: &AdditiveBackward<'_, Self::Tensor, Self::Additive, Self::AdditiveMemory>,
        gradients: AdditiveGradients<'_, Self::Tensor>,
    ) -> Result<()>;
}
