//! Recurrent layers, from the last position to the first.

use super::{Real, Tensor, add_wanted, linear, numbers};
use crate::backend::check::{self, RecurrentShape};
use crate::reference::recurrent::{self, Recurrent};
use crate::train::{RecurBackward, RecurPass, Recurred, RecurrentMasters, Wanted};
use crate::{Activation, Cell, Format, Ragged, RecurrentSpec, Result, Rows};

/// A layer and its format.
///
/// ```
/// use seq2seq_core::{Backend, Cell, Format, HostTensor, Ragged, reference::{Reference, backward::TrainRecurrent}};
/// use seq2seq_core::train::{MasterPart, OptimiserOps, RecurrentMasters, TrainRecurrentOps};
///
/// let b = Reference;
/// let weight = b.zeros(3, 1)?;
/// let masters = |weight| RecurrentMasters {
///     cell: Cell::Gru,
///     directions: vec![MasterPart { weight, bias: None, transposed: false }],
/// };
/// let mut layer: TrainRecurrent = b.pack_recurrent(&masters(&weight), Format::F32)?;
/// let (rows, x, state) = (Ragged::from_lengths([1]), b.zeros(1, 3)?, b.upload(&HostTensor::from_f32(vec![1, 1], &[1.0])?)?);
/// let end = |layer: &_| b.download(&b.recur_forward(&x, &rows, layer, Some(&state), false)?.end);
/// assert_eq!(end(&layer)?, [0.5]); // all gates at 1/2
/// // The update gate has learned to hold what there is.
/// let weight = b.upload(&HostTensor::from_f32(vec![3, 1], &[0.0, 40.0, 0.0])?)?;
/// b.repack_recurrent(&mut layer, &masters(&weight))?;
/// assert_eq!(end(&layer)?, [1.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TrainRecurrent {
    layer: Recurrent,
    format: Format,
}

impl TrainRecurrent {
    pub(super) fn pack(masters: &RecurrentMasters<'_, Tensor>, format: Format) -> Result<Self> {
        check::train_format(format)?;
        check::recurrent_masters(masters)?;
        let directions = masters.directions.iter().map(linear::part).collect::<Result<_>>()?;
        let spec = RecurrentSpec { cell: masters.cell, directions };
        Ok(Self { layer: Recurrent::pack(&spec, format)?, format })
    }

    pub(super) fn repack(&mut self, masters: &RecurrentMasters<'_, Tensor>) -> Result<()> {
        let packed = Self::pack(masters, self.format)?;
        check::repack_recurrent(self.layer.shape(), packed.layer.shape())?;
        *self = packed;
        Ok(())
    }

    fn bf16(&self) -> bool {
        self.format == Format::Bf16
    }
}

pub(super) fn forward(
    x: &Tensor,
    rows: &Ragged,
    layer: &TrainRecurrent,
    state: Option<&Tensor>,
    keep: bool,
) -> Result<Recurred<Tensor>> {
    let recurred = recurrent::run(x, rows, &layer.layer, state)?;
    Ok(Recurred { kept: recurred.kept.filter(|_| keep), ..recurred })
}

/// A pass that is walked back.
pub(crate) struct Operands<'a, R> {
    pub(crate) shape: RecurrentShape,
    pub(crate) rows: &'a Ragged,
    /// `[B, state]`; empty for zeros, as is what follows but for `y` and `kept`.
    pub(crate) state: &'a [R],
    /// `[N, D · M]`
    pub(crate) y: &'a [R],
    /// `[N, D · kept · M]`
    pub(crate) kept: &'a [R],
    /// `[N, D · M]`
    pub(crate) dy: &'a [R],
    /// `[B, state]`
    pub(crate) dend: &'a [R],
    /// U of each direction, `[gates · M, M]`, rounded already where it is packed in bf16.
    pub(crate) weights: Vec<Vec<R>>,
    /// Whether du is rounded before it is multiplied.
    pub(crate) bf16: bool,
}

/// A value of a matrix, zero of one that is empty.
fn at<R: Real>(x: &[R], i: usize) -> R {
    x.get(i).copied().unwrap_or(R::exact(0.0))
}

/// The positions of a sequence in the order in which direction `d` passes them.
fn passed(range: std::ops::Range<usize>, d: usize) -> Vec<usize> {
    if d == 1 { range.rev().collect() } else { range.collect() }
}

/// The gradients of the projected input and of U h + b, both `[N, D · gates · M]`, and of the first state, `[B, state]`.
pub(crate) fn gradients<R: Real>(of: &Operands<'_, R>) -> [Vec<R>; 3] {
    let RecurrentShape { cell, width: m, directions } = of.shape;
    let (all, gates, kept) = (of.shape.output(), cell.gates(), cell.kept());
    let n = of.rows.rows();
    let zeros = |count: usize| vec![R::exact(0.0); count];
    let (mut dx, mut du) = (zeros(n * of.shape.input()), zeros(n * of.shape.input()));
    let mut dstate = zeros(of.rows.sequences() * of.shape.state());
    for (b, range) in of.rows.ranges().enumerate() {
        for d in 0..directions {
            let column = |vector: usize, j: usize| b * of.shape.state() + vector * all + d * m + j;
            let end =
                |vector| -> Vec<R> { (0..m).map(|j| at(of.dend, column(vector, j))).collect() };
            let mut dh = end(0);
            let mut dc = if cell == Cell::Lstm { end(1) } else { Vec::new() };
            let order = passed(range.clone(), d);
            for (t, &n) in order.iter().enumerate().rev() {
                let before = t.checked_sub(1).map(|t| order[t]);
                let kept_at = |n: usize, v: usize, j: usize| {
                    of.kept[((n * directions + d) * kept + v) * m + j]
                };
                let mut own = Vec::new();
                for j in 0..m {
                    let dh = dh[j].plus(at(of.dy, n * all + d * m + j));
                    let kept = |v| kept_at(n, v, j);
                    own.push(match cell {
                        Cell::Lstm => {
                            let c = match before {
                                Some(n) => kept_at(n, 4, j),
                                None => at(of.state, column(1, j)),
                            };
                            let (da, dc_before) =
                                lstm([kept(0), kept(1), kept(2), kept(3), kept(4)], c, dh, dc[j]);
                            dc[j] = dc_before;
                            Unit { dx: da.to_vec(), du: da.to_vec(), dh: R::exact(0.0) }
                        }
                        Cell::Gru => {
                            let h = match before {
                                Some(n) => of.y[n * all + d * m + j],
                                None => at(of.state, column(0, j)),
                            };
                            gru([kept(0), kept(1), kept(2), kept(3)], h, dh)
                        }
                    });
                }
                for (j, unit) in own.iter().enumerate() {
                    for g in 0..gates {
                        let at = ((n * directions + d) * gates + g) * m + j;
                        (dx[at], du[at]) = (unit.dx[g], unit.du[g]);
                    }
                }
                let from = (n * directions + d) * gates * m;
                let factors: Vec<R> = du[from..][..gates * m]
                    .iter()
                    .map(|v| if of.bf16 { v.rounded() } else { *v })
                    .collect();
                let weights = &of.weights[d];
                let back = |(j, unit): (usize, &Unit<R>)| {
                    let mut terms = vec![unit.dh];
                    terms.extend(
                        factors.iter().enumerate().map(|(k, f)| f.times(weights[k * m + j])),
                    );
                    R::sum(&terms)
                };
                dh = own.iter().enumerate().map(back).collect();
            }
            for j in 0..m {
                dstate[column(0, j)] = dh[j];
                if let Some(dc) = dc.get(j) {
                    dstate[column(1, j)] = *dc;
                }
            }
        }
    }
    [dx, du, dstate]
}

/// What comes of one unit at one position.
struct Unit<R> {
    /// Of each gate.
    dx: Vec<R>,
    /// Of each gate.
    du: Vec<R>,
    /// What goes back to h beside the product.
    dh: R,
}

/// From i, f, g, o and c', c, and the gradients of h' and c': those of the gates, and of c.
fn lstm<R: Real>([i, f, g, o, new]: [R; 5], c: R, dh: R, dc: R) -> ([R; 4], R) {
    let one = R::exact(1.0);
    let slope = |s: R| s.times(one.minus(s));
    let flat = |t: R| one.minus(t.times(t));
    let tanh = new.activated(Activation::Tanh);
    let dc = dc.plus(dh.times(o).times(flat(tanh)));
    let da = [
        dc.times(g).times(slope(i)),
        dc.times(c).times(slope(f)),
        dc.times(i).times(flat(g)),
        dh.times(tanh).times(slope(o)),
    ];
    (da, dc.times(f))
}

/// From r, z, n and u_n, h, and the gradient of h'.
fn gru<R: Real>([r, z, n, u]: [R; 4], h: R, dh: R) -> Unit<R> {
    let one = R::exact(1.0);
    let slope = |s: R| s.times(one.minus(s));
    let dn = dh.times(one.minus(z)).times(one.minus(n.times(n)));
    let dz = dh.times(h.minus(n)).times(slope(z));
    let dr = dn.times(u).times(slope(r));
    Unit { dx: vec![dr, dz, dn], du: vec![dr, dz, dn.times(r)], dh: dh.times(z) }
}

/// Of each direction the gradients of U, `[gates · M, M]`, and b, from what the passes began with, their results and du.
pub(crate) fn weight_gradients<R: Real>(
    shape: RecurrentShape,
    passes: &[(&Ragged, [Vec<R>; 3])],
    bf16: bool,
) -> Vec<[Vec<R>; 2]> {
    let (m, gates, all) = (shape.width, shape.cell.gates() * shape.width, shape.output());
    let direction = |d: usize| {
        let (mut du_terms, mut h_terms) = (vec![Vec::new(); gates], vec![Vec::new(); m]);
        for (rows, [state, y, du]) in passes {
            for (b, range) in rows.ranges().enumerate() {
                let order = passed(range, d);
                for (t, &n) in order.iter().enumerate() {
                    for (j, terms) in h_terms.iter_mut().enumerate() {
                        terms.push(match t.checked_sub(1) {
                            Some(t) => y[order[t] * all + d * m + j],
                            None => at(state, b * shape.state() + d * m + j),
                        });
                    }
                    for (k, terms) in du_terms.iter_mut().enumerate() {
                        terms.push(du[(n * shape.directions + d) * gates + k]);
                    }
                }
            }
        }
        let round = |terms: &Vec<R>| -> Vec<R> {
            terms.iter().map(|v| if bf16 { v.rounded() } else { *v }).collect()
        };
        let h: Vec<Vec<R>> = h_terms.iter().map(round).collect();
        let row = |du: &Vec<R>| -> Vec<R> {
            let du = round(du);
            h.iter().map(|h| R::dot(du.iter().copied().zip(h.iter().copied()))).collect()
        };
        [du_terms.iter().flat_map(row).collect(), du_terms.iter().map(|du| R::sum(du)).collect()]
    };
    (0..shape.directions).map(direction).collect()
}

pub(super) fn backward(
    layer: &TrainRecurrent,
    of: &RecurBackward<'_, Tensor>,
    x: Wanted<'_, Tensor>,
    state: Wanted<'_, Tensor>,
) -> Result<Tensor> {
    let shape = layer.layer.shape();
    check::recur_backward(of, shape, (&x, &state))?;
    let optional = |t: Option<&Tensor>| t.map(numbers::<f64>).unwrap_or_default();
    let [dx, du, dstate] = gradients(&Operands {
        shape,
        rows: of.rows,
        state: &optional(of.state),
        y: &numbers(of.y),
        kept: &numbers(of.kept),
        dy: &optional(of.dy),
        dend: &optional(of.dend),
        weights: layer.layer.layers().iter().map(|l| f64::all(l.floats())).collect(),
        bf16: layer.bf16(),
    });
    add_wanted(x, of.y.rows(), shape.input(), &dx);
    add_wanted(state, of.rows.sequences(), shape.state(), &dstate);
    Ok(Tensor::new(of.y.rows(), shape.input(), du.iter().map(|&v| v as f32).collect()))
}

pub(super) fn weights_backward(
    layer: &TrainRecurrent,
    passes: &[RecurPass<'_, Tensor>],
    wanted: Vec<[Wanted<'_, Tensor>; 2]>,
) -> Result<()> {
    let shape = layer.layer.shape();
    check::recur_weights_backward(passes, shape, &wanted)?;
    let pass = |of: &RecurPass<'_, Tensor>| {
        [of.state.map(numbers::<f64>).unwrap_or_default(), numbers(of.y), numbers(of.du)]
    };
    let passes: Vec<_> = passes.iter().map(|of| (of.rows, pass(of))).collect();
    let gates = shape.cell.gates() * shape.width;
    let found = weight_gradients(shape, &passes, layer.bf16());
    for ([weight, bias], [dw, db]) in wanted.into_iter().zip(found) {
        add_wanted(weight, gates, shape.width, &dw);
        add_wanted(bias, 1, gates, &db);
    }
    Ok(())
}
