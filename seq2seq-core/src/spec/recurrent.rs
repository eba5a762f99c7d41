//! Recurrent layers.

use crate::LinearPart;

/// What a recurrent layer computes at each position, in PyTorch's equations: σ the logistic function, x the row of the
/// input's projection, h and c the state, U and b the weights of [`RecurrentSpec`].
///
/// ```
/// use seq2seq_core::Cell;
///
/// // What a bidirectional layer of 512 is made of, in values a row.
/// let (directions, width) = (2, 512);
/// let sizes = |cell: Cell| [cell.gates(), 1, cell.vectors()].map(|vectors| directions * vectors * width);
/// assert_eq!(sizes(Cell::Lstm), [4096, 1024, 2048]); // projected input, result, state
/// assert_eq!(sizes(Cell::Gru), [3072, 1024, 1024]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Hochreiter and Schmidhuber 1997 with a forget gate (Gers et al. 2000). Gates i, f, g, o = x + U h + b:
    ///
    /// ```text
    /// c' = σ(f) c + σ(i) tanh(g)
    /// h' = σ(o) tanh(c')
    /// ```
    Lstm,
    /// Cho et al. 2014, with the reset gate behind the product. Gates r, z, n; u = U h + b:
    ///
    /// ```text
    /// r = σ(x_r + u_r)   z = σ(x_z + u_z)   n = tanh(x_n + r u_n)
    /// h' = (1 - z) n + z h
    /// ```
    Gru,
}

impl Cell {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Lstm, Self::Gru];

    /// Gates, each M wide.
    pub fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }

    /// Vectors of M values that the state of one direction is: h, and c in an LSTM.
    pub fn vectors(self) -> usize {
        match self {
            Self::Lstm => 2,
            Self::Gru => 1,
        }
    }

    /// Vectors of M values that training keeps of a position and direction
    /// ([`Recurred::kept`](crate::train::Recurred::kept)).
    pub fn kept(self) -> usize {
        match self {
            Self::Lstm => 5,
            Self::Gru => 4,
        }
    }
}

/// The recurrent half of a layer. Its other half, the product with the input, is a linear layer over all positions.
///
/// ```
/// use seq2seq_core::{Backend, Cell, Format, HostTensor, LinearPart, Ragged, RecurrentOps, RecurrentSpec, reference::Reference};
///
/// let b = Reference;
/// let weight = HostTensor::from_f32(vec![3, 1], &[0.0; 3])?; // [gates · M, M]
/// let spec = RecurrentSpec {
///     cell: Cell::Gru,
///     directions: vec![LinearPart { weight, bias: None, transposed: false }],
/// };
/// let layer = b.recurrent(&spec, Format::F32)?;
/// // All gates are at 1/2 and n is 0, so that each position halves the state.
/// let x = b.upload(&HostTensor::from_f32(vec![3, 3], &[0.0; 9])?)?;
/// let state = b.upload(&HostTensor::from_f32(vec![1, 1], &[8.0])?)?;
/// let (y, end) = b.recur(&x, &Ragged::from_lengths([3]), &layer, Some(&state))?;
/// assert_eq!(b.download(&y)?, [4.0, 2.0, 1.0]);
/// assert_eq!(b.download(&end)?, [1.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RecurrentSpec {
    /// Which equations.
    pub cell: Cell,
    /// Of each direction the weight U, `[gates · M, M]`, and the bias b, `[gates · M]`, gates in the order of [`Cell`]
    /// (`weight_hh` and `bias_hh` of PyTorch). The first direction reads a sequence from its first position to its last,
    /// the second, where there is one, from its last to its first.
    pub directions: Vec<LinearPart>,
}
