//! LSTM and GRU: packing, over sequences and step by step, and back.

use super::{Size, Training, data};
use crate::bench::{Bench, Call};
use crate::work::{F32, Work};
use seq2seq_core::train::{
    Gradient, MasterPart, RecurBackward as Of, RecurPass, Recurred, RecurrentMasters, TrainBackend,
};
use seq2seq_core::{Cell, Error, Format, Ragged, Result};

/// A layer over sequences of one length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    cell: Cell,
    directions: usize,
    width: usize,
    sequences: usize,
    length: usize,
    /// Whether it is a step of a decoder: sequences go on from a state, and what they end with has a gradient.
    step: bool,
    /// Of which the weights' gradients are summed at once.
    passes: usize,
    format: Format,
}

impl Case {
    fn rows(&self) -> Ragged {
        Ragged::from_lengths(vec![self.length; self.sequences])
    }

    /// Columns of the projected input.
    fn input(&self) -> usize {
        self.directions * self.cell.gates() * self.width
    }

    fn output(&self) -> usize {
        self.directions * self.width
    }

    fn state(&self) -> usize {
        self.cell.vectors() * self.output()
    }

    /// Positions of all sequences.
    fn positions(&self) -> usize {
        self.sequences * self.length
    }

    /// Positions times columns.
    fn elements(&self) -> usize {
        self.positions() * self.output()
    }

    /// Values of what sequences begin with.
    fn begin(&self) -> usize {
        if self.step { self.sequences * self.state() } else { 0 }
    }

    /// Values of all U, of which each position multiplies every one.
    fn weights(&self) -> usize {
        self.input() * self.width
    }

    /// Bytes of the layer as it is held, without its biases.
    fn held(&self) -> usize {
        self.format.bytes(self.input(), self.width)
    }

    fn packing(&self) -> Work {
        let bytes = F32 * (self.weights() + 2 * self.input()) + self.held();
        Work { operations: 0, bytes, format: self.format }
    }

    fn tensor<B: TrainBackend>(&self, backend: &B, seed: u64, columns: usize) -> Result<B::Tensor> {
        data::rows(backend, seed, [self.positions(), columns])
    }

    /// What sequences begin with, or the gradient of what they end with.
    fn edge<B: TrainBackend>(&self, backend: &B, seed: u64) -> Result<Option<B::Tensor>> {
        let edge = || data::rows(backend, seed, [self.sequences, self.state()]);
        self.step.then(edge).transpose()
    }
}

fn named(case: Case) -> (String, Case) {
    let Case { cell, width, sequences, length, format, .. } = case;
    let ways = if case.directions == 2 { ", both ways" } else { "" };
    let over = match (case.step, case.passes) {
        (false, _) => format!("{sequences} of {length}"),
        (true, 1) => format!("a step of {sequences}"),
        (true, passes) => format!("{passes} steps of {sequences}"),
    };
    (format!("{cell:?} of {width}, {over}{ways}, {format}"), case)
}

fn lstm(size: &Size) -> Case {
    Case {
        cell: Cell::Lstm,
        directions: 1,
        width: size.recurrent,
        sequences: size.sentences,
        length: size.words,
        step: false,
        passes: 1,
        format: Format::F32,
    }
}

/// Layers over sequences in both formats, an encoder of two directions and half the width, and a decoder's step or steps.
fn cases(size: &Size, steps: usize) -> Vec<(String, Case)> {
    let lstm = lstm(size);
    let both = |cell| Format::TRAINED.map(|format| Case { cell, format, ..lstm });
    let encoder = Case { directions: 2, width: size.recurrent / 2, ..lstm };
    let decoder = Case { length: 1, step: true, passes: steps, ..lstm };
    let layers = both(Cell::Lstm).into_iter().chain(both(Cell::Gru));
    layers.chain([encoder, decoder]).map(named).collect()
}

/// A layer of the width in both formats, to be packed.
fn packed(size: &Size) -> Vec<(String, Case)> {
    let case = |format| {
        let case = Case { format, ..lstm(size) };
        (format!("{:?} of {}, {format}", case.cell, case.width), case)
    };
    Format::TRAINED.map(case).into()
}

/// Matrix and bias of each direction on the device.
struct Held<B: TrainBackend> {
    cell: Cell,
    parts: Vec<[B::Tensor; 2]>,
}

impl<B: TrainBackend> Held<B> {
    fn new(backend: &B, case: &Case) -> Result<Self> {
        let gates = case.cell.gates() * case.width;
        let part = |direction| {
            let seed = 10 + 2 * direction as u64;
            let weight = data::matrix(backend, seed, [gates, case.width])?;
            Ok([weight, data::rows(backend, seed + 1, [1, gates])?])
        };
        let parts = (0..case.directions).map(part).collect::<Result<_>>()?;
        Ok(Self { cell: case.cell, parts })
    }

    fn masters(&self) -> RecurrentMasters<'_, B::Tensor> {
        let directions = self.parts.iter().map(|[weight, bias]| MasterPart {
            weight,
            bias: Some(bias),
            transposed: false,
        });
        RecurrentMasters { cell: self.cell, directions: directions.collect() }
    }
}

/// A layer is packed when a model is made or read.
pub(super) struct PackRecurrent;

impl Training for PackRecurrent {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        packed(size)
    }
}

/// Masters are read, and one layout is written.
impl Bench for PackRecurrent {
    const NAME: &'static str = "pack_recurrent";
    type Case = Case;

    fn work(case: &Case) -> Work {
        case.packing()
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, format, held) = (backend.clone(), case.format, Held::new(backend, case)?);
        Ok(Box::new(move || backend.pack_recurrent(&held.masters(), format).map(drop)))
    }
}

/// Once a step for every layer.
pub(super) struct RepackRecurrent;

impl Training for RepackRecurrent {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        packed(size)
    }
}

/// Masters are read, and one layout is written.
impl Bench for RepackRecurrent {
    const NAME: &'static str = "repack_recurrent";
    type Case = Case;

    fn work(case: &Case) -> Work {
        case.packing()
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, held) = (backend.clone(), Held::new(backend, case)?);
        let mut layer = backend.pack_recurrent(&held.masters(), case.format)?;
        Ok(Box::new(move || backend.repack_recurrent(&mut layer, &held.masters())))
    }
}

/// A layer and what it reads.
struct Prepared<B: TrainBackend> {
    layer: B::TrainRecurrent,
    x: B::Tensor,
    rows: Ragged,
    state: Option<B::Tensor>,
}

impl<B: TrainBackend> Prepared<B> {
    fn new(backend: &B, case: &Case) -> Result<Self> {
        Ok(Self {
            layer: backend.pack_recurrent(&Held::new(backend, case)?.masters(), case.format)?,
            x: case.tensor(backend, 1, case.input())?,
            rows: case.rows(),
            state: case.edge(backend, 2)?,
        })
    }

    fn forward(&self, backend: &B) -> Result<Recurred<B::Tensor>> {
        backend.recur_forward(&self.x, &self.rows, &self.layer, self.state.as_ref(), true)
    }
}

/// What comes out, and what the way back needs.
pub(super) struct RecurForward;

impl Training for RecurForward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        cases(size, 1)
    }
}

/// That of [`recur`](seq2seq_core::RecurrentOps::recur); what is kept is written. The weights are read once, though each
/// position needs all of them again.
impl Bench for RecurForward {
    const NAME: &'static str = "recur_forward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let gates = case.cell.gates();
        let cell = match case.cell {
            Cell::Lstm => 9,
            Cell::Gru => 8,
        };
        let each = gates * (2 * case.width + 2) + cell;
        let ends = case.begin() + case.sequences * case.state();
        let values = case.elements() * (gates + 1 + case.cell.kept()) + ends + case.input();
        Work {
            operations: case.elements() * each,
            bytes: case.held() + F32 * values,
            format: case.format,
        }
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, p) = (backend.clone(), Prepared::new(backend, case)?);
        Ok(Box::new(move || p.forward(&backend).map(drop)))
    }
}

/// Gradients of input and state, from the last position to the first.
pub(super) struct RecurBackward;

impl Training for RecurBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        cases(size, 1)
    }
}

/// Uᵀ du is 2 · gates · M a column. Then, a column of an LSTM: tanh c', 5 for dc', 4 for each gate, dc' f, the sum with dy. Of a
/// GRU: 5 for n and for z, 4 for r, du of n, 2 for what h gets past the gates, the sum with dy. Read are what was kept, the
/// gradients of the results, and the states before: c of an LSTM is among what was kept. Written are dx and du.
impl Bench for RecurBackward {
    const NAME: &'static str = "recur_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let gates = case.cell.gates();
        let (cell, before) = match case.cell {
            Cell::Lstm => (24, 0),
            Cell::Gru => (18, 1),
        };
        // Of a step: the state and the gradient behind it are read, and that before it is written.
        let edges = 3 * case.begin();
        let values = case.elements() * (case.cell.kept() + 1 + before + 2 * gates) + edges;
        Work {
            operations: case.elements() * (2 * gates * case.width + cell),
            bytes: case.held() + F32 * values,
            format: case.format,
        }
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, p) = (backend.clone(), Prepared::new(backend, case)?);
        let Recurred { y, kept, .. } = p.forward(&backend)?;
        let kept = kept.ok_or_else(|| Error::invalid("recur_forward", "it kept nothing"))?;
        let dy = case.tensor(&backend, 3, case.output())?;
        let dend = case.edge(&backend, 4)?;
        Ok(Box::new(move || {
            let (rows, state) = (&p.rows, p.state.as_ref());
            let (dy, dend) = (Some(&dy), dend.as_ref());
            let of = Of { rows, state, y: &y, kept: &kept, dy, dend };
            let (mut dx, mut dstate): (Gradient<_>, Gradient<_>) = (None, None);
            let wanted = state.is_some().then_some(&mut dstate);
            backend.recur_backward(&p.layer, &of, Some(&mut dx), wanted).map(drop)
        }))
    }
}

/// Gradients of U and b, over all positions of all passes.
pub(super) struct RecurWeightsBackward;

impl Training for RecurWeightsBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        cases(size, size.words)
    }
}

/// 2 · gates · M · M for each position and direction, and the sums for the biases; du and the states are read, gradients written.
impl Bench for RecurWeightsBackward {
    const NAME: &'static str = "recur_weights_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let gates = case.cell.gates();
        let elements = case.passes * case.elements();
        let values = elements * (gates + 1) + case.weights() + case.input();
        Work {
            operations: elements * gates * (2 * case.width + 1),
            bytes: F32 * values,
            format: case.format,
        }
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, case, rows) = (backend.clone(), *case, case.rows());
        let held = Held::new(&backend, &case)?;
        let layer = backend.pack_recurrent(&held.masters(), case.format)?;
        let pass = |i: usize| {
            let seed = 20 + 3 * i as u64;
            let du = case.tensor(&backend, seed, case.input())?;
            let y = case.tensor(&backend, seed + 1, case.output())?;
            Ok((du, y, case.edge(&backend, seed + 2)?))
        };
        let passes: Vec<_> = (0..case.passes).map(pass).collect::<Result<_>>()?;
        Ok(Box::new(move || {
            let passes: Vec<_> = passes
                .iter()
                .map(|(du, y, state)| RecurPass { rows: &rows, state: state.as_ref(), y, du })
                .collect();
            let mut parts: Vec<_> = (0..case.directions).map(|_| [None, None]).collect();
            let wanted = parts.iter_mut().map(|p: &mut [_; 2]| p.each_mut().map(Some)).collect();
            backend.recur_weights_backward(&layer, &passes, wanted)
        }))
    }
}
