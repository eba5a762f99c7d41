//! Recurrent layers, all sequences of a batch side by side, position by position.

use super::linear::Linear;
use crate::fault::Result;
use crate::tensor::indices;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check::{self, RecurrentShape};
use seq2seq_core::train::Recurred;
use seq2seq_core::{Cell, Format, LinearSpec, Ragged, RecurrentSpec, Rows};
use tch::Kind;

/// The recurrent half of a layer.
///
/// ```
/// use seq2seq_core::{
///     Backend, Cell, Format, HostTensor, LinearPart, Ragged, RecurrentOps, RecurrentSpec,
/// };
/// use seq2seq_tch::{Recurrent, Tch, TchOptions};
///
/// let tch = Tch::new(TchOptions::default())?;
/// let weight = HostTensor::from_f32(vec![3, 1], &[0.0; 3])?;
/// let bias = HostTensor::from_f32(vec![3], &[0.0, 0.0, 2.0])?;
/// let direction = LinearPart { weight, bias: Some(bias), transposed: false };
/// let spec = RecurrentSpec { cell: Cell::Gru, directions: vec![direction] };
/// let layer: Recurrent = tch.recurrent(&spec, Format::F32)?;
///
/// // Inputs of 0: r = z = 1/2 and n = tanh(r · 2), so that h comes half as near to tanh 1 at each position.
/// let x = tch.upload(&HostTensor::from_f32(vec![2, 3], &[0.0; 6])?)?;
/// let (h, end) = tch.recur(&x, &Ragged::from_lengths([2]), &layer, None)?;
/// let (h, n) = (tch.download(&h)?, 1f32.tanh());
/// assert!((h[0] - n / 2.0).abs() < 1e-6 && (h[1] - n * 0.75).abs() < 1e-6);
/// assert_eq!(tch.download(&end)?, h[1..]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Recurrent {
    shape: RecurrentShape,
    directions: Vec<Linear>,
}

impl Recurrent {
    pub(crate) fn pack(tch: &Tch, spec: &RecurrentSpec, format: Format) -> Result<Self> {
        let shape = check::recurrent(spec, format)?;
        let pack = |part: &seq2seq_core::LinearPart| {
            let parts = vec![part.clone()];
            tch.pack_linear(&LinearSpec { parts, gated: false, scale: 1.0 }, format)
        };
        Ok(Self { shape, directions: spec.directions.iter().map(pack).collect::<Result<_>>()? })
    }

    pub(crate) fn shape(&self) -> RecurrentShape {
        self.shape
    }

    /// Of each direction.
    pub(crate) fn layers(&self) -> &[Linear] {
        &self.directions
    }
}

/// One position of some sequences: from the projected input `x` and u = U h + b, `[B, gates · M]`, and the state, what the
/// next begins with (h, and c of an LSTM) and what the way back needs, `[B, kept · M]`.
pub(crate) fn step(
    cell: Cell,
    x: &tch::Tensor,
    u: &tch::Tensor,
    [h, c]: [&tch::Tensor; 2],
) -> Result<([tch::Tensor; 2], tch::Tensor)> {
    let m = h.size()[1];
    let part = |x: &tch::Tensor, gate: i64| x.f_narrow(1, gate * m, m);
    let f32_of = |x: &tch::Tensor| x.f_to_kind(Kind::Float)?.f_to_kind(x.kind());
    match cell {
        Cell::Lstm => {
            let sums = x.f_add(u)?;
            let [i, f, o] = [0, 1, 3].map(|gate| part(&sums, gate)?.f_sigmoid());
            let (i, f, g, o) = (i?, f?, part(&sums, 2)?.f_tanh()?, o?);
            let c = f.f_mul(c)?.f_add(&i.f_mul(&g)?)?;
            let h = o.f_mul(&c.f_tanh()?)?;
            let kept = tch::Tensor::f_cat(&[&i, &f, &g, &o, &c], 1)?;
            Ok(([f32_of(&h)?, f32_of(&c)?], kept))
        }
        Cell::Gru => {
            let gate = |gate| part(x, gate)?.f_add(&part(u, gate)?)?.f_sigmoid();
            let (r, z, u_n) = (gate(0)?, gate(1)?, part(u, 2)?);
            let n = part(x, 2)?.f_add(&r.f_mul(&u_n)?)?.f_tanh()?;
            let new = n.f_sub(&z.f_mul(&n)?)?.f_add(&z.f_mul(h)?)?;
            let kept = tch::Tensor::f_cat(&[&r, &z, &n, &u_n], 1)?;
            Ok(([f32_of(&new)?, c.shallow_clone()], kept))
        }
    }
}

/// What a direction has done.
struct Direction {
    /// h of each packed row, `[N, M]`, and what the way back needs, `[N, kept · M]`.
    rows: [tch::Tensor; 2],
    /// h and, of an LSTM, c, `[B, M]`.
    end: [tch::Tensor; 2],
}

/// The sequences that have a position `t`, counted from where a direction begins, and their packed rows there.
pub(crate) fn active(rows: &Ragged, t: usize, backwards: bool) -> (Vec<usize>, Vec<usize>) {
    let there = rows.ranges().enumerate().filter(|(_, range)| t < range.len());
    there.map(|(b, range)| (b, if backwards { range.end - 1 - t } else { range.start + t })).unzip()
}

/// One direction over all sequences; the second walks from the last position of each to its first.
fn direction(
    tch: &Tch,
    x: &tch::Tensor,
    rows: &Ragged,
    (cell, layer): (Cell, &Linear),
    (state, backwards): ([tch::Tensor; 2], bool),
) -> Result<Direction> {
    let [mut h, mut c] = state;
    // Rows in the order in which they are come to, and the values of each.
    let (mut order, mut ys, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for t in 0..rows.longest() {
        let (sequences, at) = active(rows, t, backwards);
        let active = indices(sequences.into_iter(), tch.device())?;
        let x = x.f_index_select(0, &indices(at.iter().copied(), tch.device())?)?;
        let own = [h.f_index_select(0, &active)?, c.f_index_select(0, &active)?];
        let u = layer.products(tch, &own[0])?.f_to_kind(tch.kind())?;
        let ([new_h, new_c], gates) = step(cell, &x, &u, [&own[0], &own[1]])?;
        h = h.f_index_copy(0, &active, &new_h)?;
        c = c.f_index_copy(0, &active, &new_c)?;
        order.extend(at);
        ys.push(new_h);
        kept.push(gates);
    }
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(i, &row)| places[row] = i);
    let places = indices(places.into_iter(), tch.device())?;
    let collect = |values: Vec<tch::Tensor>, vectors: usize| -> Result<tch::Tensor> {
        let none = h.f_new_zeros([0, vectors as i64 * h.size()[1]], (h.kind(), h.device()))?;
        let all: Vec<_> = std::iter::once(none).chain(values).collect();
        Ok(tch::Tensor::f_cat(&all, 0)?.f_index_select(0, &places)?)
    };
    let rows = [collect(ys, 1)?, collect(kept, cell.kept())?];
    Ok(Direction { rows, end: [h, c] })
}

/// The layer over all sequences, with what training keeps.
pub(crate) fn run(
    tch: &Tch,
    x: &Tensor,
    rows: &Ragged,
    layer: &Recurrent,
    state: Option<&Tensor>,
) -> Result<Recurred<Tensor>> {
    let shape = layer.shape;
    check::recur(x, rows, shape, state)?;
    let (m, gates) = (shape.width as i64, (shape.cell.gates() * shape.width) as i64);
    let wide = tch.wide(x)?;
    let begin = match state {
        Some(state) => tch.wide(state)?,
        None => {
            let size = [rows.sequences() as i64, shape.state() as i64];
            tch::Tensor::f_zeros(size, (tch.kind(), tch.device()))?
        }
    };
    let (mut ys, mut kept, mut hs, mut cs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (d, weights) in layer.directions.iter().enumerate() {
        let x = wide.f_narrow(1, d as i64 * gates, gates)?;
        let h = begin.f_narrow(1, d as i64 * m, m)?;
        let c = match shape.cell {
            Cell::Lstm => begin.f_narrow(1, shape.output() as i64 + d as i64 * m, m)?,
            Cell::Gru => h.shallow_clone(),
        };
        let done = direction(tch, &x, rows, (shape.cell, weights), ([h, c], d == 1))?;
        let ([y, gates], [h, c]) = (done.rows, done.end);
        ys.push(y);
        kept.push(gates);
        hs.push(h);
        cs.push(c);
    }
    if shape.cell == Cell::Lstm {
        hs.append(&mut cs);
    }
    let cat = |parts: &[tch::Tensor]| tch::Tensor::f_cat(parts, 1);
    let kept_width = shape.directions * shape.cell.kept() * shape.width;
    Ok(Recurred {
        y: Tensor::new(x.rows(), shape.output(), cat(&ys)?)?,
        end: Tensor::new(rows.sequences(), shape.state(), cat(&hs)?)?,
        kept: Some(Tensor::new(x.rows(), kept_width, cat(&kept)?)?),
    })
}
