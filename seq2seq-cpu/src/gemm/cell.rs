//! The cell of a recurrent layer, for the units of one block and one row.
//!
//! ```text
//! LSTM   a = x + u        c' = σ(a_f) c + σ(a_i) tanh(a_g)      h' = σ(a_o) tanh(c')
//! GRU    r, z = σ(x + u)  n = tanh(x_n + r u_n)                 h' = n + z (h - n)
//! ```
//!
//! u is the sum of the product, scaled, with its bias; x the projected input. Each unit is computed in a lane, so that its
//! bits do not depend on the others.

use super::{
    epilogue::Columns,
    micro::Sums,
    recurrent::{MAX_GATES, MAX_KEPT},
};
use crate::simd::{Kernel, Simd, math};
use seq2seq_core::Cell;

/// The gates of a row's units.
pub(super) struct Gates<'a> {
    pub(super) cell: Cell,
    /// Scale and bias of each gate.
    pub(super) columns: &'a [Columns<'a>; MAX_GATES],
    /// The products of each gate.
    pub(super) sums: &'a [Sums; MAX_GATES],
    /// The row in the tile.
    pub(super) i: usize,
    /// Multiplies the products of a row in integers; 1 elsewhere.
    pub(super) row_scale: f32,
    /// The projected input from the first unit of the first gate on; the next gate is `width` further on. A vector can be
    /// read at each unit.
    pub(super) x: &'a [f32],
    /// M
    pub(super) width: usize,
}

/// The state of a row's units.
pub(super) struct Place<'a> {
    /// h before. A vector can be read at each unit.
    pub(super) before: &'a [f32],
    /// h', for the result and for the next step.
    pub(super) out: &'a mut [f32],
    pub(super) h: &'a mut [f32],
    /// c, which becomes c'; empty in a GRU.
    pub(super) c: &'a mut [f32],
    /// Where training has the gates kept.
    pub(super) kept: Option<[&'a mut [f32]; MAX_KEPT]>,
}

/// Computes the units of a block for one row.
pub(super) struct Units<'a> {
    pub(super) gates: Gates<'a>,
    pub(super) place: Place<'a>,
}

impl Gates<'_> {
    /// The product of `gate` from unit `at` on, with its bias.
    #[inline(always)]
    fn hidden<S: Simd>(&self, s: S, gate: usize, at: usize) -> S::V {
        let columns = self.columns[gate];
        let sums = self.sums[gate].row(self.i, columns.scale.len());
        columns.linear(s, sums, s.splat(self.row_scale), at)
    }

    /// The projected input of `gate` from unit `at` on.
    #[inline(always)]
    fn input<S: Simd>(&self, s: S, gate: usize, at: usize) -> S::V {
        s.load(&self.x[gate * self.width + at..])
    }

    /// Their sum.
    #[inline(always)]
    fn sum<S: Simd>(&self, s: S, gate: usize, at: usize) -> S::V {
        s.add(self.input(s, gate, at), self.hidden(s, gate, at))
    }
}

impl Kernel for Units<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { gates, place: Place { before, out, h, c, mut kept } } = self;
        match gates.cell {
            Cell::Lstm => {
                for at in (0..out.len()).step_by(S::LANES) {
                    let input = math::sigmoid(s, gates.sum(s, 0, at));
                    let forget = math::sigmoid(s, gates.sum(s, 1, at));
                    let new = math::tanh(s, gates.sum(s, 2, at));
                    let output = math::sigmoid(s, gates.sum(s, 3, at));
                    let cell = s.fma(forget, s.load_within(c, at), s.mul(input, new));
                    let hidden = s.mul(output, math::tanh(s, cell));
                    s.store_within(cell, c, at);
                    if let Some(kept) = &mut kept {
                        for (v, kept) in [input, forget, new, output, cell].into_iter().zip(kept) {
                            s.store_within(v, kept, at);
                        }
                    }
                    s.store_within(hidden, h, at);
                    s.store_within(hidden, out, at);
                }
            }
            Cell::Gru => {
                for at in (0..out.len()).step_by(S::LANES) {
                    let reset = math::sigmoid(s, gates.sum(s, 0, at));
                    let update = math::sigmoid(s, gates.sum(s, 1, at));
                    let hidden = gates.hidden(s, 2, at);
                    let new = math::tanh(s, s.fma(reset, hidden, gates.input(s, 2, at)));
                    if let Some(kept) = &mut kept {
                        for (v, kept) in [reset, update, new, hidden].into_iter().zip(kept) {
                            s.store_within(v, kept, at);
                        }
                    }
                    let hidden = s.fma(update, s.sub(s.load(&before[at..]), new), new);
                    s.store_within(hidden, h, at);
                    s.store_within(hidden, out, at);
                }
            }
        }
    }
}
