//! Recurrent layers, from the last position of all sequences to the first.

use super::linear::part;
use super::{add_wanted, rounded, zeros};
use crate::fault::Result;
use crate::ops::recurrent::{Recurrent, active, run};
use crate::tensor::indices;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check::{self, RecurrentShape};
use seq2seq_core::train::{RecurBackward, RecurPass, Recurred, RecurrentMasters, Wanted};
use seq2seq_core::{Cell, Format, Ragged, RecurrentSpec};

/// A layer and its format.
///
/// ```
/// use seq2seq_core::{
///     Backend, Cell, Format, HostTensor, Ragged,
///     train::{MasterPart, RecurBackward, Recurred, RecurrentMasters, TrainRecurrentOps},
/// };
/// use seq2seq_tch::{Tch, TchOptions, TrainRecurrent};
///
/// let tch = Tch::new(TchOptions::default())?;
/// let upload = |rows, values: &[f32]| {
///     tch.upload(&HostTensor::from_f32(vec![rows, values.len() / rows], values)?)
/// };
/// let weight = upload(4, &[0.5, -1.0, 0.25, 0.75])?;
/// let direction = MasterPart { weight: &weight, bias: None, transposed: false };
/// let masters = RecurrentMasters { cell: Cell::Lstm, directions: vec![direction] };
/// let layer: TrainRecurrent = tch.pack_recurrent(&masters, Format::F32)?;
///
/// // One position of an LSTM whose gates were all given 0: c' and h' are 0.
/// let (rows, x) = (Ragged::from_lengths([1]), upload(1, &[0.0; 4])?);
/// let Recurred { y, kept, .. } = tch.recur_forward(&x, &rows, &layer, None, true)?;
/// assert_eq!(tch.download(&y)?, [0.0]);
///
/// // The loss is h', of which σ(o) σ(i) tanh'(g) = 1/4 comes back to g, and nothing to the others.
/// let (dy, mut dx) = (upload(1, &[1.0])?, None);
/// if let Some(kept) = &kept {
///     let of = RecurBackward { rows: &rows, state: None, y: &y, kept, dy: Some(&dy), dend: None };
///     tch.recur_backward(&layer, &of, Some(&mut dx), None)?;
/// }
/// let dx = dx.map(|dx| tch.download(&dx)).transpose()?;
/// assert_eq!(dx.as_deref(), Some(&[0.0, 0.0, 0.25, 0.0][..]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TrainRecurrent {
    layer: Recurrent,
    format: Format,
}

impl TrainRecurrent {
    pub(crate) fn pack(
        tch: &Tch,
        masters: &RecurrentMasters<'_, Tensor>,
        format: Format,
    ) -> Result<Self> {
        check::train_format(format)?;
        check::recurrent_masters(masters)?;
        let directions = masters.directions.iter().map(part).collect::<Result<_>>()?;
        let spec = RecurrentSpec { cell: masters.cell, directions };
        Ok(Self { layer: Recurrent::pack(tch, &spec, format)?, format })
    }

    pub(crate) fn repack(
        &mut self,
        tch: &Tch,
        masters: &RecurrentMasters<'_, Tensor>,
    ) -> Result<()> {
        let packed = Self::pack(tch, masters, self.format)?;
        check::repack_recurrent(self.layer.shape(), packed.layer.shape())?;
        *self = packed;
        Ok(())
    }

    fn bf16(&self) -> bool {
        self.format == Format::Bf16
    }
}

pub(crate) fn forward(
    tch: &Tch,
    x: &Tensor,
    rows: &Ragged,
    layer: &TrainRecurrent,
    (state, keep): (Option<&Tensor>, bool),
) -> Result<Recurred<Tensor>> {
    let recurred = run(tch, x, rows, &layer.layer, state)?;
    Ok(Recurred { kept: recurred.kept.filter(|_| keep), ..recurred })
}

/// Where a position of a direction finds what was before it: a packed row, or N + its sequence for the first state.
fn before(rows: &Ragged, d: usize) -> Vec<usize> {
    let mut places = vec![0; rows.rows()];
    for (b, range) in rows.ranges().enumerate() {
        for n in range.clone() {
            let first = if d == 1 { n + 1 == range.end } else { n == range.start };
            places[n] = match (first, d) {
                (true, _) => rows.rows() + b,
                (false, 1) => n + 1,
                (false, _) => n - 1,
            };
        }
    }
    places
}

/// From the kept gates `[B, kept · M]`, what was before (h in a GRU, c in an LSTM) and the gradients of h' and c': dx, du, and
/// what goes back to h beside the product, or to c.
fn unit(
    cell: Cell,
    kept: &tch::Tensor,
    before: &tch::Tensor,
    [dh, dc]: [&tch::Tensor; 2],
) -> Result<[tch::Tensor; 3]> {
    let m = dh.size()[1];
    let gate = |i: i64| kept.f_narrow(1, i * m, m);
    let rest = |s: &tch::Tensor| s.f_neg()?.f_add_scalar(1.0);
    let slope = |s: &tch::Tensor| s.f_mul(&rest(s)?);
    let flat = |t: &tch::Tensor| rest(&t.f_square()?);
    match cell {
        Cell::Lstm => {
            let (i, f, g, o) = (gate(0)?, gate(1)?, gate(2)?, gate(3)?);
            let tanh = gate(4)?.f_tanh()?;
            let dc = dc.f_add(&dh.f_mul(&o)?.f_mul(&flat(&tanh)?)?)?;
            let da = [
                dc.f_mul(&g)?.f_mul(&slope(&i)?)?,
                dc.f_mul(before)?.f_mul(&slope(&f)?)?,
                dc.f_mul(&i)?.f_mul(&flat(&g)?)?,
                dh.f_mul(&tanh)?.f_mul(&slope(&o)?)?,
            ];
            let da = tch::Tensor::f_cat(&da, 1)?;
            Ok([da.shallow_clone(), da, dc.f_mul(&f)?])
        }
        Cell::Gru => {
            let (r, z, n, u) = (gate(0)?, gate(1)?, gate(2)?, gate(3)?);
            let dn = dh.f_mul(&rest(&z)?)?.f_mul(&flat(&n)?)?;
            let dz = dh.f_mul(&before.f_sub(&n)?)?.f_mul(&slope(&z)?)?;
            let dr = dn.f_mul(&u)?.f_mul(&slope(&r)?)?;
            let dx = tch::Tensor::f_cat(&[&dr, &dz, &dn], 1)?;
            let du = tch::Tensor::f_cat(&[&dr, &dz, &dn.f_mul(&r)?], 1)?;
            Ok([dx, du, dh.f_mul(&z)?])
        }
    }
}

/// One direction of a backward.
struct Direction<'a> {
    cell: Cell,
    rows: &'a Ragged,
    /// The second walks from the last position of a sequence to its first, and so back from its first.
    second: bool,
    /// `[N, kept · M]`
    kept: tch::Tensor,
    /// Of each position what was before it: h in a GRU, c in an LSTM; `[N, M]`.
    before: tch::Tensor,
    /// `[N, M]`
    dy: tch::Tensor,
    /// U, `[gates · M, M]`.
    weights: tch::Tensor,
    bf16: bool,
}

impl Direction<'_> {
    /// dx and du, `[N, gates · M]`, and the gradients of the first h and c, from those of the last.
    fn back(&self, tch: &Tch, [mut dh, mut dc]: [tch::Tensor; 2]) -> Result<[tch::Tensor; 4]> {
        let gates = self.weights.size()[0] as usize;
        let mut dx = zeros(tch, self.rows.rows(), gates)?;
        let mut du = zeros(tch, self.rows.rows(), gates)?;
        for t in (0..self.rows.longest()).rev() {
            let (sequences, at) = active(self.rows, t, self.second);
            let active = indices(sequences.into_iter(), tch.device())?;
            let at = indices(at.into_iter(), tch.device())?;
            let own = |x: &tch::Tensor| x.f_index_select(0, &at);
            let own_dh = dh.f_index_select(0, &active)?.f_add(&own(&self.dy)?)?;
            let own_dc = dc.f_index_select(0, &active)?;
            let (kept, before) = (own(&self.kept)?, own(&self.before)?);
            let [x, u, rest] = unit(self.cell, &kept, &before, [&own_dh, &own_dc])?;
            let product = rounded(tch, &u, self.bf16)?.f_matmul(&self.weights)?;
            let back = match self.cell {
                Cell::Lstm => {
                    dc = dc.f_index_copy(0, &active, &rest)?;
                    product
                }
                Cell::Gru => product.f_add(&rest)?,
            };
            dh = dh.f_index_copy(0, &active, &back)?;
            dx = dx.f_index_copy(0, &at, &x)?;
            du = du.f_index_copy(0, &at, &u)?;
        }
        Ok([dx, du, dh, dc])
    }
}

/// Vector `vector` of direction `d` of states `[B, state]`, zeros where there are none.
fn state_of(
    tch: &Tch,
    (shape, sequences): (RecurrentShape, usize),
    states: Option<&Tensor>,
    (vector, d): (usize, usize),
) -> Result<tch::Tensor> {
    let from = (vector * shape.output() + d * shape.width) as i64;
    match states {
        Some(states) => Ok(tch.wide(states)?.f_narrow(1, from, shape.width as i64)?),
        None => zeros(tch, sequences, shape.width),
    }
}

pub(crate) fn backward(
    tch: &Tch,
    layer: &TrainRecurrent,
    of: &RecurBackward<'_, Tensor>,
    x: Wanted<'_, Tensor>,
    state: Wanted<'_, Tensor>,
) -> Result<Tensor> {
    let shape = layer.layer.shape();
    check::recur_backward(of, shape, (&x, &state))?;
    let RecurrentShape { cell, width, directions } = shape;
    let (rows, size) = (of.rows.rows(), (shape, of.rows.sequences()));
    let (m, kept_width) = (width as i64, (cell.kept() * width) as i64);
    let lstm = cell == Cell::Lstm;
    let (mut dx, mut du, mut dh, mut dc) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for d in 0..directions {
        let kept = tch.wide(of.kept)?.f_narrow(1, d as i64 * kept_width, kept_width)?;
        let held = match lstm {
            true => kept.f_narrow(1, 4 * m, m)?,
            false => tch.wide(of.y)?.f_narrow(1, d as i64 * m, m)?,
        };
        let first = state_of(tch, size, of.state, (usize::from(lstm), d))?;
        let places = indices(before(of.rows, d).into_iter(), tch.device())?;
        let direction = Direction {
            cell,
            rows: of.rows,
            second: d == 1,
            before: tch::Tensor::f_cat(&[held, first], 0)?.f_index_select(0, &places)?,
            dy: match of.dy {
                Some(dy) => tch.wide(dy)?.f_narrow(1, d as i64 * m, m)?,
                None => zeros(tch, rows, width)?,
            },
            weights: layer.layer.layers()[d].floats()?.f_to_kind(tch.kind())?,
            kept,
            bf16: layer.bf16(),
        };
        let end = |vector| state_of(tch, size, of.dend, (vector, d));
        let ends = [end(0)?, if lstm { end(1)? } else { zeros(tch, size.1, width)? }];
        let [x, u, h, c] = direction.back(tch, ends)?;
        dx.push(x);
        du.push(u);
        dh.push(h);
        dc.push(c);
    }
    if lstm {
        dh.append(&mut dc);
    }
    let cat = |parts: &[tch::Tensor]| tch::Tensor::f_cat(parts, 1);
    add_wanted(tch, x, [rows, shape.input()], &cat(&dx)?)?;
    add_wanted(tch, state, [size.1, shape.state()], &cat(&dh)?)?;
    Tensor::new(rows, shape.input(), cat(&du)?)
}

pub(crate) fn weights_backward(
    tch: &Tch,
    layer: &TrainRecurrent,
    passes: &[RecurPass<'_, Tensor>],
    wanted: Vec<[Wanted<'_, Tensor>; 2]>,
) -> Result<()> {
    let shape = layer.layer.shape();
    check::recur_weights_backward(passes, shape, &wanted)?;
    let (m, gates) = (shape.width as i64, shape.cell.gates() * shape.width);
    for (d, [weight, bias]) in wanted.into_iter().enumerate() {
        let (mut hs, mut dus) = (vec![zeros(tch, 0, shape.width)?], vec![zeros(tch, 0, gates)?]);
        for of in passes {
            let y = tch.wide(of.y)?.f_narrow(1, d as i64 * m, m)?;
            let first = state_of(tch, (shape, of.rows.sequences()), of.state, (0, d))?;
            let places = indices(before(of.rows, d).into_iter(), tch.device())?;
            hs.push(tch::Tensor::f_cat(&[y, first], 0)?.f_index_select(0, &places)?);
            dus.push(tch.wide(of.du)?.f_narrow(1, (d * gates) as i64, gates as i64)?);
        }
        let (h, du) = (tch::Tensor::f_cat(&hs, 0)?, tch::Tensor::f_cat(&dus, 0)?);
        let db = du.f_sum_dim_intlist([0i64].as_slice(), false, None)?;
        let (h, du) = (rounded(tch, &h, layer.bf16())?, rounded(tch, &du, layer.bf16())?);
        add_wanted(tch, weight, [gates, shape.width], &du.f_tr()?.f_matmul(&h)?)?;
        add_wanted(tch, bias, [1, gates], &db)?;
    }
    Ok(())
}
