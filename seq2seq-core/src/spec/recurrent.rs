//! Recurrent layers.

use crate::LinearPart;

/// What a recurrent layer computes at each position, in PyTorch's equations: σ the logistic function, x the row of the
/// input's projection, h and c the state, U and b the weights of [`RecurrentSpec`].
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
#[derive(Debug, Clone)]
pub struct RecurrentSpec {
    /// Which equations.
    pub cell: Cell,
    /// Of each direction the weight U, `[gates · M, M]`, and the bias b, `[gates · M]`, gates in the order of [`Cell`]
    /// (`weight_hh` and `bias_hh` of PyTorch). The first direction reads a sequence from its first position to its last,
    /// the second, where there is one, from its last to its first.
    pub directions: Vec<LinearPart>,
}
