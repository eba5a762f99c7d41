//! Recurrent layers, position by position.
//!
//! The product with h is that of [`linear`](super::linear), with what the format rounds in it, but not rounded at its end;
//! h' and c' are rounded to f32, as they are what the next position begins with.

use super::{Tensor, linear::Linear};
use crate::backend::check::{self, RecurrentShape};
use crate::train::Recurred;
use crate::{Cell, Format, LinearSpec, Ragged, RecurrentSpec, Result, Rows};

/// The recurrent half of a layer.
///
/// ```
/// use seq2seq_core::{reference::{Reference, recurrent::Recurrent}, *};
///
/// let direction = || {
///     let weight = HostTensor::from_f32(vec![8, 2], &[0.25; 16])?;
///     Ok::<_, Error>(LinearPart { weight, bias: None, transposed: false })
/// };
/// // Both directions of an LSTM of width 2; the matrices may be quantised, h and c never are.
/// let spec = RecurrentSpec { cell: Cell::Lstm, directions: vec![direction()?, direction()?] };
/// let layer: Recurrent = Reference.recurrent(&spec, Format::Int8)?;
/// let x = Reference.upload(&HostTensor::from_f32(vec![3, 2 * 4 * 2], &[0.0; 48])?)?;
/// let (y, end) = Reference.recur(&x, &Ragged::from_lengths([3]), &layer, None)?;
/// assert_eq!((y.width(), end.width()), (2 * 2, 2 * 2 * 2));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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

    pub(super) fn shape(&self) -> RecurrentShape {
        self.shape
    }

    /// Of each direction.
    pub(super) fn layers(&self) -> &[Linear] {
        &self.directions
    }
}

/// 1 / (1 + e⁻ˣ)
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// What a position gives.
struct Stepped {
    h: Vec<f32>,
    /// As wide as `h` in an LSTM, empty in a GRU.
    c: Vec<f32>,
    /// What [`Recurred::kept`](crate::train::Recurred::kept) has of it.
    kept: Vec<f32>,
}

/// One position; `c` is as wide as `h` in an LSTM, empty in a GRU.
fn step(cell: Cell, x: &[f32], u: &[f64], h: &[f32], c: &[f32]) -> Stepped {
    let m = h.len();
    let narrow = |values: &[f64]| -> Vec<f32> { values.iter().map(|&v| v as f32).collect() };
    let x = |gate: usize, j: usize| f64::from(x[gate * m + j]);
    let u = |gate: usize, j: usize| u[gate * m + j];
    match cell {
        Cell::Lstm => {
            let all = |gate, f: fn(f64) -> f64| -> Vec<f64> {
                (0..m).map(|j| f(x(gate, j) + u(gate, j))).collect()
            };
            let (i, f, g, o) =
                (all(0, sigmoid), all(1, sigmoid), all(2, f64::tanh), all(3, sigmoid));
            let c: Vec<f64> = (0..m).map(|j| f[j] * f64::from(c[j]) + i[j] * g[j]).collect();
            let h: Vec<f64> = (0..m).map(|j| o[j] * c[j].tanh()).collect();
            let kept = [i, f, g, o, c.clone()].concat();
            Stepped { h: narrow(&h), c: narrow(&c), kept: narrow(&kept) }
        }
        Cell::Gru => {
            let gate = |gate, j| sigmoid(x(gate, j) + u(gate, j));
            let r: Vec<f64> = (0..m).map(|j| gate(0, j)).collect();
            let z: Vec<f64> = (0..m).map(|j| gate(1, j)).collect();
            let n: Vec<f64> = (0..m).map(|j| (x(2, j) + r[j] * u(2, j)).tanh()).collect();
            let unit = |j: usize| (1.0 - z[j]) * n[j] + z[j] * f64::from(h[j]);
            let h: Vec<f64> = (0..m).map(unit).collect();
            let kept = [r, z, n, (0..m).map(|j| u(2, j)).collect()].concat();
            Stepped { h: narrow(&h), c: Vec::new(), kept: narrow(&kept) }
        }
    }
}

pub(super) fn recur(
    x: &Tensor,
    rows: &Ragged,
    layer: &Recurrent,
    state: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let Recurred { y, end, .. } = run(x, rows, layer, state)?;
    Ok((y, end))
}

/// With what training keeps.
pub(super) fn run(
    x: &Tensor,
    rows: &Ragged,
    layer: &Recurrent,
    state: Option<&Tensor>,
) -> Result<Recurred<Tensor>> {
    let shape = layer.shape;
    check::recur(x, rows, shape, state)?;
    let (m, all, gates) = (shape.width, shape.output(), shape.cell.gates());
    let kept_width = shape.cell.kept() * m;
    let mut out = vec![0.0; x.rows() * all];
    let mut kept = vec![0.0; x.rows() * shape.directions * kept_width];
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
                let next = step(shape.cell, x, &weights.products(h), h, c);
                h.copy_from_slice(&next.h);
                c.copy_from_slice(&next.c);
                out[n * all + d * m..][..m].copy_from_slice(h);
                let at = (n * shape.directions + d) * kept_width;
                kept[at..][..kept_width].copy_from_slice(&next.kept);
            }
        }
    }
    Ok(Recurred {
        y: Tensor::new(x.rows(), all, out),
        end: Tensor::new(rows.sequences(), shape.state(), ends),
        kept: Some(Tensor::new(x.rows(), shape.directions * kept_width, kept)),
    })
}
