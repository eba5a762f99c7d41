//! Recurrent layers, forward with what is kept, and back.
//!
//! A bound grows with the sequence, so sequences are short. It starts from what the backend itself kept, which is judged a
//! position at a time, as the forward is.

use super::super::linear::products;
use super::super::recurrent::Case;
use super::super::tolerance::Approx;
use super::super::values::{Profile, values};
use super::super::{Outcome, bits, each, fail, host, within};
use super::{added, begun, gradient_values, narrow};
use crate::backend::check::RecurrentShape;
use crate::reference::backward::recurrent::{Operands, gradients, weight_gradients};
use crate::reference::real::Real;
use crate::train::{
    Gradient, MasterPart, RecurBackward, RecurPass, Recurred, RecurrentMasters, TrainBackend,
};
use crate::{Cell, DType, Format, LinearSpec, Result};
use proptest::prelude::*;

/// A layer and its way back.
#[derive(Debug, Clone)]
struct BackwardCase {
    layer: Case,
    /// Whether there are gradients of results and of last states.
    wanted: [bool; 2],
}

fn cases() -> BoxedStrategy<BackwardCase> {
    let lengths = proptest::collection::vec(0..=4usize, 0..=4);
    let many = proptest::collection::vec(0..=2usize, 14..=20);
    let lengths = prop_oneof![6 => lengths, 1 => many];
    let cell = proptest::sample::select(&Cell::ALL[..]);
    // Subnormal products are flushed in bf16; those of saturated gates may be that.
    let kind = proptest::sample::select(
        &[
            (Format::F32, Profile::Normal),
            (Format::F32, Profile::Wide),
            (Format::Bf16, Profile::Normal),
        ][..],
    );
    let wanted = proptest::sample::select(&[[true, true], [true, false], [false, true]][..]);
    let flags = (any::<bool>(), any::<bool>());
    (lengths, narrow(), cell, 1..=2usize, kind, flags, wanted, 0..1000u64)
        .prop_map(|(lengths, width, cell, directions, (format, x), (bias, state), wanted, seed)| {
            let dtype = DType::F32;
            let layer =
                Case { lengths, width, cell, directions, format, dtype, bias, state, x, seed };
            BackwardCase { layer, wanted }
        })
        .boxed()
}

/// Weights and biases on the device.
struct Held<B: TrainBackend> {
    cell: Cell,
    parts: Vec<(B::Tensor, Option<B::Tensor>)>,
}

impl<B: TrainBackend> Held<B> {
    fn new(backend: &B, case: &Case) -> Result<Self> {
        let parts = case.spec().directions.into_iter().map(|part| {
            let row = |b: crate::HostTensor| backend.upload(&b.reshape(vec![1, b.len()])?);
            Ok((backend.upload(&part.weight)?, part.bias.map(row).transpose()?))
        });
        Ok(Self { cell: case.cell, parts: parts.collect::<Result<_>>()? })
    }

    fn masters(&self) -> RecurrentMasters<'_, B::Tensor> {
        let parts = self.parts.iter().map(|(weight, bias)| MasterPart {
            weight,
            bias: bias.as_ref(),
            transposed: false,
        });
        RecurrentMasters { cell: self.cell, directions: parts.collect() }
    }
}

fn packed<B: TrainBackend>(backend: &B, case: &Case) -> Result<B::TrainRecurrent> {
    backend.pack_recurrent(&Held::new(backend, case)?.masters(), case.format)
}

fn forward<B: TrainBackend>(
    backend: &B,
    case: &Case,
    layer: &B::TrainRecurrent,
    keep: bool,
) -> Result<Recurred<B::Tensor>> {
    let state = case.state().map(|s| backend.upload(&s)).transpose()?;
    backend.recur_forward(&backend.upload(&case.x())?, &case.rows(), layer, state.as_ref(), keep)
}

/// Everything that comes of a case.
struct Ran<B: TrainBackend> {
    recurred: Recurred<B::Tensor>,
    x: Gradient<B::Tensor>,
    state: Gradient<B::Tensor>,
    du: B::Tensor,
    parts: Vec<[Gradient<B::Tensor>; 2]>,
}

impl BackwardCase {
    fn shape(&self) -> RecurrentShape {
        let Case { cell, width, directions, .. } = self.layer;
        RecurrentShape { cell, width, directions }
    }

    /// The gradients of results and of last states; empty where there are none.
    fn dy(&self) -> [Vec<f32>; 2] {
        let case = &self.layer;
        let sizes =
            [case.rows().rows() * case.output(), case.rows().sequences() * case.state_width()];
        [0, 1].map(|i| match self.wanted[i] {
            true => gradient_values(case.seed + 20 + i as u64, sizes[i]),
            false => Vec::new(),
        })
    }

    fn run<B: TrainBackend>(&self, backend: &B) -> Result<Ran<B>> {
        let (case, rows, shape) = (&self.layer, self.layer.rows(), self.shape());
        let layer = packed(backend, case)?;
        let recurred = forward(backend, case, &layer, true)?;
        let state = case.state().map(|s| backend.upload(&s)).transpose()?;
        let state = state.as_ref();
        let [dy, dend] = self.dy();
        let upload = |wanted: bool, n, width, values: &[f32]| {
            wanted.then(|| backend.upload(&host(n, width, values))).transpose()
        };
        let dy = upload(self.wanted[0], rows.rows(), shape.output(), &dy)?;
        let dend = upload(self.wanted[1], rows.sequences(), shape.state(), &dend)?;
        let mut dx = begun(backend, rows.rows(), shape.input())?;
        let mut dstate = None;
        let nothing = || crate::Error::invalid("recur_forward", "it kept nothing");
        let of = RecurBackward {
            rows: &rows,
            state,
            y: &recurred.y,
            kept: recurred.kept.as_ref().ok_or_else(nothing)?,
            dy: dy.as_ref(),
            dend: dend.as_ref(),
        };
        let du = backend.recur_backward(&layer, &of, Some(&mut dx), Some(&mut dstate))?;
        let gates = shape.cell.gates() * shape.width;
        // Weights are added to, biases begun.
        let mut parts = Vec::new();
        for _ in 0..shape.directions {
            parts.push([begun(backend, gates, shape.width)?, None]);
        }
        let pass = RecurPass { rows: &rows, state, y: &recurred.y, du: &du };
        let wanted = parts.iter_mut().map(|p: &mut [_; 2]| p.each_mut().map(Some)).collect();
        backend.recur_weights_backward(&layer, &[pass], wanted)?;
        Ok(Ran { recurred, x: dx, state: dstate, du, parts })
    }

    /// Everything on the host, in one list.
    fn flat<B: TrainBackend>(&self, backend: &B) -> Result<Vec<f32>> {
        let Ran { recurred, x, state, du, parts } = self.run(backend)?;
        let mut out = backend.download(&recurred.y)?;
        let gradients = parts.into_iter().flatten().chain([x, state]).flatten();
        for tensor in recurred.kept.into_iter().chain([recurred.end, du]).chain(gradients) {
            out.extend(backend.download(&tensor)?);
        }
        Ok(out)
    }
}

/// The bounds of what is kept of a position of direction `d`, from its row of the projected input and the state before.
fn kept_bounds(case: &Case, d: usize, x: &[f32], h: &[f32], c: &[f32]) -> Result<Vec<Approx>> {
    let m = case.width;
    let parts = vec![case.spec().directions.swap_remove(d)];
    let spec = LinearSpec { parts, gated: false, scale: 1.0 };
    let u = products(&spec, case.format, &host(1, m, h))?;
    let gate = |gate: usize, j: usize| u[gate * m + j].plus(Approx::exact(x[gate * m + j]));
    let all = |f: &dyn Fn(usize) -> Approx| -> Vec<Approx> { (0..m).map(f).collect() };
    Ok(match case.cell {
        Cell::Lstm => {
            let (i, f) = (all(&|j| gate(0, j).sigmoid()), all(&|j| gate(1, j).sigmoid()));
            let (g, o) = (all(&|j| gate(2, j).tanh()), all(&|j| gate(3, j).sigmoid()));
            let c = all(&|j| f[j].times(Approx::exact(c[j])).plus(i[j].times(g[j])));
            [i, f, g, o, c].concat()
        }
        Cell::Gru => {
            let (r, z) = (all(&|j| gate(0, j).sigmoid()), all(&|j| gate(1, j).sigmoid()));
            let n = all(&|j| r[j].times(u[2 * m + j]).plus(Approx::exact(x[2 * m + j])).tanh());
            [r, z, n, u[2 * m..].to_vec()].concat()
        }
    })
}

/// The forward has the bits of [`recur`](crate::RecurrentOps::recur); what it keeps lies within the bound of each position;
/// nothing is kept that is not asked for.
pub fn forward_is_recur<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |BackwardCase { layer: case, .. }| {
        let (rows, m, all) = (case.rows(), case.width, case.output());
        let plain = backend.recurrent(&case.spec(), case.format)?;
        let (x, state) = (case.x(), case.state());
        let given = state.as_ref().map(|s| backend.upload(s)).transpose()?;
        let (y, end) = backend.recur(&backend.upload(&x)?, &rows, &plain, given.as_ref())?;
        let (y, end) = (backend.download(&y)?, backend.download(&end)?);
        let layer = packed(backend, case)?;
        let mut found = None;
        for keep in [false, true] {
            let recurred = forward(backend, case, &layer, keep)?;
            bits("recur_forward", &y, &backend.download(&recurred.y)?)?;
            bits("state of recur_forward", &end, &backend.download(&recurred.end)?)?;
            if recurred.kept.is_some() != keep {
                return fail(format!("something is kept: {}, keep: {keep}", !keep));
            }
            found = recurred.kept;
        }
        let Some(kept) = found else { return Ok(()) };
        let kept = backend.download(&kept)?;
        let (x, state) = (x.to_f32(), state.map(|s| s.to_f32()));
        let (gates, held) = (case.gates(), case.cell.kept() * m);
        for (b, range) in rows.ranges().enumerate() {
            for d in 0..case.directions {
                let of_state = |vector: usize| match &state {
                    None => vec![0.0; m],
                    Some(s) => s[b * case.state_width() + vector * all + d * m..][..m].to_vec(),
                };
                let (mut h, mut c) = (of_state(0), Vec::new());
                if case.cell == Cell::Lstm {
                    c = of_state(1);
                }
                for t in 0..range.len() {
                    let n = if d == 1 { range.end - 1 - t } else { range.start + t };
                    let place = n * case.directions + d;
                    let want = kept_bounds(case, d, &x[place * gates..][..gates], &h, &c)?;
                    let got = &kept[place * held..][..held];
                    within("what is kept", &want, got)?;
                    h.copy_from_slice(&y[n * all + d * m..][..m]);
                    if case.cell == Cell::Lstm {
                        c.copy_from_slice(&got[4 * m..]);
                    }
                }
            }
        }
        Ok(())
    })
}

/// Gradients of input, first state, weights and biases lie within their bounds.
pub fn backward_matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |case| {
        let (layer, shape, rows) = (&case.layer, case.shape(), case.layer.rows());
        let bf16 = layer.format == Format::Bf16;
        let ran = case.run(backend)?;
        let Some(kept) = &ran.recurred.kept else { return fail("nothing is kept".into()) };
        let download = |x: &B::Tensor| Ok::<_, crate::Error>(Approx::all(&backend.download(x)?));
        let state = layer.state().map(|s| Approx::all(&s.to_f32())).unwrap_or_default();
        let y = download(&ran.recurred.y)?;
        let weights = layer.spec().directions.into_iter().map(|part| {
            let weights = Approx::all(&part.weight.to_f32()).into_iter();
            weights.map(|w| if bf16 { w.rounded() } else { w }).collect()
        });
        let [dy, dend] = case.dy().map(|v| Approx::all(&v));
        let [dx, du, dstate] = gradients(&Operands {
            shape,
            rows: &rows,
            state: &state,
            y: &y,
            kept: &download(kept)?,
            dy: &dy,
            dend: &dend,
            weights: weights.collect(),
            bf16,
        });
        added(backend, "dx", (&dx, 1), &ran.x, true)?;
        within("du", &du, &backend.download(&ran.du)?)?;
        added(backend, "dstate", (&dstate, 1), &ran.state, false)?;
        let du = download(&ran.du)?;
        let want = weight_gradients(shape, &[(&rows, [state, y, du])], bf16);
        for ([dw, db], [weight, bias]) in want.iter().zip(&ran.parts) {
            added(backend, "dU", (dw, rows.rows()), weight, true)?;
            added(backend, "db", (db, rows.rows()), bias, false)?;
        }
        Ok(())
    })
}

/// The gradients of the weights are those of all passes together: here of the same pass, once and twice.
pub fn passes_are_summed<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |case| {
        let (layer, shape, rows) = (&case.layer, case.shape(), case.layer.rows());
        let ran = case.run(backend)?;
        let held = packed(backend, layer)?;
        let state = layer.state().map(|s| backend.upload(&s)).transpose()?;
        let begin = ran.recurred.end;
        let pass = |state| RecurPass { rows: &rows, state, y: &ran.recurred.y, du: &ran.du };
        let passes = [pass(state.as_ref()), pass(Some(&begin)), pass(None)];
        let mut parts: Vec<[Gradient<B::Tensor>; 2]> =
            (0..shape.directions).map(|_| [None, None]).collect();
        let wanted = parts.iter_mut().map(|p| p.each_mut().map(Some)).collect();
        backend.recur_weights_backward(&held, &passes, wanted)?;
        let download = |x: &B::Tensor| Ok::<_, crate::Error>(Approx::all(&backend.download(x)?));
        let (y, du) = (download(&ran.recurred.y)?, download(&ran.du)?);
        let state = layer.state().map(|s| Approx::all(&s.to_f32())).unwrap_or_default();
        let states = [state, download(&begin)?, Vec::new()];
        let passes = states.map(|state| (&rows, [state, y.clone(), du.clone()]));
        let want = weight_gradients(shape, &passes, layer.format == Format::Bf16);
        for ([dw, db], [weight, bias]) in want.iter().zip(&parts) {
            added(backend, "dU", (dw, 3 * rows.rows()), weight, false)?;
            added(backend, "db", (db, 3 * rows.rows()), bias, false)?;
        }
        Ok(())
    })
}

/// A layer that is packed again is as one packed from the new masters, forward and back.
pub fn packs_again<B: TrainBackend>(backend: &B) -> Outcome {
    each(cases(), |BackwardCase { layer: case, .. }| {
        let other = Case { seed: case.seed + 1000, ..case.clone() };
        let held = Held::new(backend, &other)?;
        let fresh = backend.pack_recurrent(&held.masters(), case.format)?;
        let mut again = packed(backend, case)?;
        backend.repack_recurrent(&mut again, &held.masters())?;
        let rows = case.rows();
        let n = rows.rows() * case.output();
        let dy = host(rows.rows(), case.output(), &values(Profile::Normal, 5, n));
        let dy = backend.upload(&dy)?;
        let run = |layer: &B::TrainRecurrent| -> Result<Vec<f32>> {
            let Recurred { y, kept, .. } = forward(backend, case, layer, true)?;
            let mut out = backend.download(&y)?;
            let state = case.state().map(|s| backend.upload(&s)).transpose()?;
            if let Some(kept) = &kept {
                let of = RecurBackward {
                    rows: &rows,
                    state: state.as_ref(),
                    y: &y,
                    kept,
                    dy: Some(&dy),
                    dend: None,
                };
                let mut dstate = None;
                let du = backend.recur_backward(layer, &of, None, Some(&mut dstate))?;
                for x in [Some(du), dstate].into_iter().flatten() {
                    out.extend(backend.download(&x)?);
                }
            }
            Ok(out)
        };
        bits("packed again", &run(&fresh)?, &run(&again)?)
    })
}

pub(super) fn same_bits(a: &impl TrainBackend, b: &impl TrainBackend) -> Outcome {
    let same = |case: &BackwardCase| bits("recur", &case.flat(a)?, &case.flat(b)?);
    for cell in Cell::ALL {
        for format in [Format::F32, Format::Bf16] {
            let layer = Case {
                lengths: vec![9, 3, 17, 0, 12, 17],
                width: 130,
                cell,
                directions: 2,
                format,
                dtype: DType::F32,
                bias: true,
                state: true,
                x: Profile::Normal,
                seed: 1,
            };
            same(&BackwardCase { layer, wanted: [true, true] })?;
        }
    }
    each(cases(), same)
}
