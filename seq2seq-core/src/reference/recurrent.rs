//! Recurrent layers, position by position.
//!
//! The product with h is that of [`linear`](super::linear), with what the format rounds in it, but not rounded at its end;
//! h' and c' are rounded to f32, as they are what the next position begins with.

use super::{Tensor, linear::Linear};
use crate::backend::check::{self, RecurrentShape};
use crate::{Cell, Format, LinearSpec, Ragged, RecurrentSpec, Result, Rows};

/// The recurrent half of a layer.
#[derive(Debug)]
pub struct Recurrent {
    shape: RecurrentShape,
    directions: Vec<Linear>,
}

impl Recurrent {
    pub(super) fn pack(spec: &RecurrentSpec, format: Format) -> Result<Self> {
        let shape = check::recurrent(spec, format)?;
        let pack = |part: &crate::LinearPart| {
            let parts = vec![part.clone()];
            Linear::pack(&LinearSpec { parts, gated: false, scale: 1.0 }, format)
        };
        Ok(Self { shape, directions: spec.directions.iter().map(pack).collect::<Result<_>>()? })
    }
}

/// 1 / (1 + e⁻ˣ)
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// h' and c' of one position; an LSTM's `c` is as wide as `h`, that of a GRU empty.
fn step(cell: Cell, x: &[f32], u: &[f64], h: &[f32], c: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let m = h.len();
    let x = |gate: usize, j: usize| f64::from(x[gate * m + j]);
    let u = |gate: usize, j: usize| u[gate * m + j];
    match cell {
        Cell::Lstm => {
            let gate = |gate, j| x(gate, j) + u(gate, j);
            let cell = |j: usize| {
                let (i, f, g) = (sigmoid(gate(0, j)), sigmoid(gate(1, j)), gate(2, j).tanh());
                f * f64::from(c[j]) + i * g
            };
            let c: Vec<f64> = (0..m).map(cell).collect();
            let h = (0..m).map(|j| (sigmoid(gate(3, j)) * c[j].tanh()) as f32).collect();
            (h, c.into_iter().map(|c| c as f32).collect())
        }
        Cell::Gru => {
            let unit = |j: usize| {
                let (r, z) = (sigmoid(x(0, j) + u(0, j)), sigmoid(x(1, j) + u(1, j)));
                let n = (x(2, j) + r * u(2, j)).tanh();
                ((1.0 - z) * n + z * f64::from(h[j])) as f32
            };
            ((0..m).map(unit).collect(), Vec::new())
        }
    }
}

pub(super) fn recur(
    x: &Tensor,
    rows: &Ragged,
    layer: &Recurrent,
    state: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let shape = layer.shape;
    check::recur(x, rows, shape, state)?;
    let (m, all, gates) = (shape.width, shape.output(), shape.cell.gates());
    let mut out = vec![0.0; x.rows() * all];
    let mut ends = state.map_or_else(|| vec![0.0; rows.sequences() * shape.state()], Tensor::copy);
    for (range, state) in rows.ranges().zip(ends.chunks_mut(shape.state())) {
        for (d, weights) in layer.directions.iter().enumerate() {
            let (hidden, cells) = state.split_at_mut(all);
            let h = &mut hidden[d * m..][..m];
            let c = if cells.is_empty() { cells } else { &mut cells[d * m..][..m] };
            let backwards = d == 1;
            for t in 0..range.len() {
                let n = if backwards { range.end - 1 - t } else { range.start + t };
                let x = &x.row(n)[d * gates * m..][..gates * m];
                let (h_next, c_next) = step(shape.cell, x, &weights.products(h), h, c);
                h.copy_from_slice(&h_next);
                c.copy_from_slice(&c_next);
                out[n * all + d * m..][..m].copy_from_slice(h);
            }
        }
    }
    Ok((Tensor::new(x.rows(), all, out), Tensor::new(rows.sequences(), shape.state(), ends)))
}
