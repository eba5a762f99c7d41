//! Recurrent layers.
//!
//! A bound that followed a sequence would grow with it, and rounding to integers is not continuous. So a layer is judged a
//! position at a time, from the state that the backend itself came to; that the pieces are the whole is a check of its own.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::recurrent, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! recurrent::pieces_give_the_bits_of_the_whole(&backend)?;
//! recurrent::f16_gives_the_bits_of_f32(&backend)?;
//! recurrent::runs_directions_apart(&backend)?;
//! recurrent::is_batch_invariant(&backend)?;
//! recurrent::keeps_nan_in_its_sequence(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! A position at a time, over which the reference takes longer:
//!
//! ```
//! use seq2seq_core::{SeqBackend, conformance::{Outcome, recurrent}};
//!
//! fn each_position<B: SeqBackend>(backend: &B) -> Outcome {
//!     recurrent::matches_reference(backend)
//! }
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Backend, Cell, DType, Format, reference::Reference};
//! use seq2seq_core::conformance::{Op, Timed, recurrent::{Case, Prepared, Recur}, values::Profile};
//!
//! // Both directions of an LSTM of 8 over two sentences, in int8.
//! let case = Case {
//!     lengths: vec![4, 2], width: 8, cell: Cell::Lstm, directions: 2, format: Format::Int8, dtype: DType::F32,
//!     bias: true, state: false, x: Profile::Normal, seed: 1,
//! };
//! assert_eq!(case.spec().directions.len(), 2);
//! let mut prepared: Prepared<Reference> = Recur::prepare(&Reference, &case)?;
//! let (y, end) = Recur::call(&Reference, &mut prepared)?;
//! let both = [Reference.download(&y)?, Reference.download(&end)?].concat();
//! assert_eq!(both, Recur::run(&Reference, &case)?);
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::linear::products;
use super::tolerance::Approx;
use super::values::{Profile, tensor, values};
use super::{Cases, Op, Outcome, Timed, bits, cases_on, each, host, length, rows_of, within};
use crate::{
    Cell, DType, Format, HostTensor, LinearPart, LinearSpec, Ragged, RecurrentSpec, Result,
    SeqBackend,
};
use proptest::prelude::*;

/// One layer over some sequences.
#[derive(Debug, Clone)]
pub struct Case {
    /// Length of each sequence.
    pub lengths: Vec<usize>,
    /// M
    pub width: usize,
    /// Which equations.
    pub cell: Cell,
    /// D
    pub directions: usize,
    /// What the weights are packed into.
    pub format: Format,
    /// What they come in.
    pub dtype: DType,
    /// Whether there are biases.
    pub bias: bool,
    /// Whether sequences begin with a state.
    pub state: bool,
    /// The projected input.
    pub x: Profile,
    /// Of all values.
    pub seed: u64,
}

/// A case on a backend.
pub struct Prepared<B: SeqBackend> {
    x: B::Tensor,
    rows: Ragged,
    layer: B::Recurrent,
    state: Option<B::Tensor>,
}

impl Case {
    /// Columns of the projected input of one direction.
    pub(super) fn gates(&self) -> usize {
        self.cell.gates() * self.width
    }

    /// Columns of the result.
    pub(super) fn output(&self) -> usize {
        self.directions * self.width
    }

    pub(super) fn state_width(&self) -> usize {
        self.cell.vectors() * self.output()
    }

    pub(super) fn rows(&self) -> Ragged {
        Ragged::from_lengths(self.lengths.iter().copied())
    }

    /// The layer.
    pub fn spec(&self) -> RecurrentSpec {
        let part = |d: u64| {
            let (m, gates, seed) = (self.width, self.gates(), self.seed + 10 * d);
            let mut w = values(Profile::Normal, seed + 1, gates * m);
            w.iter_mut().for_each(|w| *w *= (m as f32).sqrt().recip());
            let b = values(Profile::Normal, seed + 2, gates);
            LinearPart {
                weight: tensor(self.dtype, vec![gates, m], &w),
                bias: self.bias.then(|| tensor(self.dtype, vec![gates], &b)),
                transposed: false,
            }
        };
        let directions = (0..self.directions as u64).map(part).collect();
        RecurrentSpec { cell: self.cell, directions }
    }

    pub(super) fn x(&self) -> HostTensor {
        let (n, width) = (self.lengths.iter().sum(), self.directions * self.gates());
        host(n, width, &values(self.x, self.seed, n * width))
    }

    /// c is larger than any h can be.
    pub(super) fn state(&self) -> Option<HostTensor> {
        let (n, width) = (self.lengths.len(), self.state_width());
        let mut state = values(Profile::Normal, self.seed + 5, n * width);
        for row in state.chunks_mut(width.max(1)) {
            row[..self.output()].iter_mut().for_each(|h| *h = h.tanh());
        }
        self.state.then(|| host(n, width, &state))
    }
}

/// Results and last states.
fn both<B: SeqBackend>(
    backend: &B,
    layer: &B::Recurrent,
    rows: &Ragged,
    x: &HostTensor,
    state: Option<&HostTensor>,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let state = state.map(|s| backend.upload(s)).transpose()?;
    let (out, state) = backend.recur(&backend.upload(x)?, rows, layer, state.as_ref())?;
    Ok((backend.download(&out)?, backend.download(&state)?))
}

fn whole<B: SeqBackend>(backend: &B, case: &Case) -> Result<(Vec<f32>, Vec<f32>)> {
    let layer = backend.recurrent(&case.spec(), case.format)?;
    both(backend, &layer, &case.rows(), &case.x(), case.state().as_ref())
}

/// [`RecurrentOps::recur`](crate::RecurrentOps::recur), with the last states.
pub struct Recur;

impl Op for Recur {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        let (mut out, state) = whole(backend, case)?;
        out.extend(state);
        Ok(out)
    }
}

impl Cases for Recur {
    fn cases() -> BoxedStrategy<Case> {
        let lengths = proptest::collection::vec(length().prop_map(|n| n.min(23)), 0..=5);
        let many = proptest::collection::vec(0..=3usize, 14..=30);
        let lengths = prop_oneof![6 => lengths, 1 => many];
        let width = proptest::sample::select(&[1usize, 2, 7, 8, 15, 16, 17, 32, 33, 50, 70][..]);
        let cell = proptest::sample::select(&Cell::ALL[..]);
        let format = proptest::sample::select(&Format::ALL[..]);
        let dtype = proptest::sample::select(&[DType::F32, DType::F16, DType::BF16][..]);
        use Profile::*;
        let x = prop_oneof![
            5 => Just(Normal),
            3 => proptest::sample::select(&[Wide, Sparse, Denormal, Huge][..]),
        ];
        let kind = (cell, 1..=2usize, format, dtype, any::<bool>(), any::<bool>());
        (lengths, width, kind, x, 0..1000u64)
            .prop_map(|(lengths, width, kind, x, seed)| {
                let (cell, directions, format, dtype, bias, state) = kind;
                Case { lengths, width, cell, directions, format, dtype, bias, state, x, seed }
            })
            .boxed()
    }

    fn format(case: &Case) -> Option<Format> {
        Some(case.format)
    }
}

impl Timed for Recur {
    const NAME: &'static str = "recur";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = (B::Tensor, B::Tensor);

    /// A layer of 512 over a sentence, over a batch, and one step of a batch.
    fn real() -> Vec<(String, Case)> {
        let case = |cell, directions, lengths| Case {
            lengths,
            width: 512,
            cell,
            directions,
            format: Format::F32,
            dtype: DType::F32,
            bias: true,
            state: true,
            x: Profile::Normal,
            seed: 1,
        };
        let shapes = [
            ("one sentence", 1, vec![32]),
            ("32 sentences", 1, vec![32; 32]),
            ("32 sentences, both ways", 2, vec![32; 32]),
            ("one step of 32", 1, vec![1; 32]),
        ];
        let named = |(name, directions, lengths): (&str, usize, Vec<usize>)| {
            Cell::ALL.map(|cell| {
                (format!("{cell:?} of 512, {name}"), case(cell, directions, lengths.clone()))
            })
        };
        shapes.into_iter().flat_map(named).collect()
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Prepared<B>> {
        Ok(Prepared {
            x: backend.upload(&case.x())?,
            rows: case.rows(),
            layer: backend.recurrent(&case.spec(), case.format)?,
            state: case.state().map(|s| backend.upload(&s)).transpose()?,
        })
    }

    fn call<B: SeqBackend>(backend: &B, p: &mut Prepared<B>) -> Result<Self::Output<B>> {
        backend.recur(&p.x, &p.rows, &p.layer, p.state.as_ref())
    }
}

/// The bounds of h' and c' for one row of the projected input and the state before, both of one direction.
fn bounds(case: &Case, x: &[f32], h: &[f32], c: &[f32]) -> Result<(Vec<Approx>, Vec<Approx>)> {
    let m = case.width;
    let parts = vec![case.spec().directions.swap_remove(0)];
    let spec = LinearSpec { parts, gated: false, scale: 1.0 };
    let u = products(&spec, case.format, &host(1, m, h))?;
    let gate = |gate: usize, j: usize| u[gate * m + j].plus(Approx::exact(x[gate * m + j]));
    let (one, mut new) = (Approx::exact(1.0), (Vec::new(), Vec::new()));
    for j in 0..m {
        match case.cell {
            Cell::Lstm => {
                let (i, f, g) = (gate(0, j).sigmoid(), gate(1, j).sigmoid(), gate(2, j).tanh());
                let cell = f.times(Approx::exact(c[j])).plus(i.times(g));
                new.0.push(gate(3, j).sigmoid().times(cell.tanh()));
                new.1.push(cell);
            }
            Cell::Gru => {
                let (r, z) = (gate(0, j).sigmoid(), gate(1, j).sigmoid());
                let n = r.times(u[2 * m + j]).plus(Approx::exact(x[2 * m + j])).tanh();
                let (keep, take) = (z.times(Approx::exact(h[j])), one.minus(z).times(n));
                // As n + z (h - n), one product less, n is rounded into the difference and the sum.
                let moved = n.plus(z.times(Approx::exact(h[j]).minus(n)));
                let sum = take.plus(keep);
                new.0.push(Approx::new(sum.value, sum.error.max(moved.error)));
            }
        }
    }
    Ok(new)
}

/// From the state that the backend came to, each position is within the bound of the formula.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(cases_on::<Recur>(backend), |case| {
        let case = Case { directions: 1, ..case.clone() };
        let (rows, x, width) = (case.rows(), case.x(), case.state_width());
        let layer = backend.recurrent(&case.spec(), case.format)?;
        let zeros = || host(rows.sequences(), width, &vec![0.0; rows.sequences() * width]);
        let mut state = case.state().unwrap_or_else(zeros).to_f32();
        for t in 0..rows.longest() {
            let live = || rows.ranges().enumerate().filter(|(_, r)| t < r.len());
            let step = Ragged::from_lengths(rows.lengths().map(|n| usize::from(t < n)));
            let x = rows_of(&x, live().map(|(_, r)| r.start + t));
            let before = host(rows.sequences(), width, &state);
            let (out, after) = both(backend, &layer, &step, &x, Some(&before))?;
            for (n, (i, _)) in live().enumerate() {
                let row = |values: &[f32]| values[i * width..(i + 1) * width].to_vec();
                let (before, after) = (row(&state), row(&after));
                let (h, c) = before.split_at(case.width);
                let x = &x.to_f32()[n * case.gates()..][..case.gates()];
                let (h, c) = bounds(&case, x, h, c)?;
                let out = &out[n * case.width..][..case.width];
                within("recur", &h, out)?;
                bits("h of the state", out, &after[..case.width])?;
                within("c of the state", &c, &after[case.width..])?;
            }
            state = after;
        }
        Ok(())
    })
}

/// A layer of one direction gives the same bits piece by piece.
pub fn pieces_give_the_bits_of_the_whole<B: SeqBackend>(backend: &B) -> Outcome {
    each((cases_on::<Recur>(backend), 1..=5usize), |(case, most)| {
        let case = Case { directions: 1, ..case.clone() };
        let (rows, x, m) = (case.rows(), case.x(), case.width);
        let layer = backend.recurrent(&case.spec(), case.format)?;
        let (expected, expected_state) = whole(backend, &case)?;
        let mut state = case.state();
        let mut done = vec![0; rows.sequences()];
        let mut got = vec![f32::NAN; expected.len()];
        for pass in 0.. {
            if done.iter().zip(rows.lengths()).all(|(done, n)| *done == n) && pass > 0 {
                break;
            }
            // Unequal pieces, some of them empty.
            let piece = |i: usize| ((pass + i) % (most + 1)).min(rows.length(i) - done[i]);
            let pieces: Vec<usize> = (0..rows.sequences()).map(piece).collect();
            let from = |i: usize| rows.range(i).start + done[i];
            let taken: Vec<usize> =
                (0..pieces.len()).flat_map(|i| from(i)..from(i) + pieces[i]).collect();
            let step = Ragged::from_lengths(pieces.iter().copied());
            let x = rows_of(&x, taken.iter().copied());
            let (out, after) = both(backend, &layer, &step, &x, state.as_ref())?;
            for (row, out) in taken.iter().zip(out.chunks(m)) {
                got[row * m..(row + 1) * m].copy_from_slice(out);
            }
            state = Some(host(rows.sequences(), case.state_width(), &after));
            done.iter_mut().zip(&pieces).for_each(|(done, n)| *done += n);
        }
        bits("piece by piece", &expected, &got)?;
        bits("state", &expected_state, &state.map(|s| s.to_f32()).unwrap_or_default())
    })
}

/// A layer of f16 numbers gives in f16 the bits that it gives in f32.
pub fn f16_gives_the_bits_of_f32<B: SeqBackend>(backend: &B) -> Outcome {
    if !backend.formats().contains(&Format::F16) {
        return Ok(());
    }
    each(Recur::cases(), |case| {
        let f32 = Case { format: Format::F32, dtype: DType::F16, ..case.clone() };
        let f16 = Case { format: Format::F16, ..f32.clone() };
        let ((expected, expected_state), (got, state)) =
            (whole(backend, &f32)?, whole(backend, &f16)?);
        bits("f16", &expected, &got)?;
        bits("state in f16", &expected_state, &state)
    })
}

/// The rows of each sequence in reverse order.
fn reversed(rows: &Ragged) -> impl Iterator<Item = usize> + '_ {
    rows.ranges().flat_map(|range| range.rev())
}

/// Columns `columns` of a matrix of `width` columns.
fn columns_of(x: &[f32], width: usize, columns: std::ops::Range<usize>) -> Vec<f32> {
    x.chunks(width.max(1)).flat_map(|row| &row[columns.clone()]).copied().collect()
}

/// Each direction of two gives the bits of a layer of its own, the second one that of the reversed sequences.
pub fn runs_directions_apart<B: SeqBackend>(backend: &B) -> Outcome {
    each(cases_on::<Recur>(backend), |case| {
        let case = Case { directions: 2, ..case.clone() };
        let (rows, m, gates) = (case.rows(), case.width, case.gates());
        let (out, state) = whole(backend, &case)?;
        let spec = case.spec();
        for d in 0..2 {
            let directions = vec![spec.directions[d].clone()];
            let alone = RecurrentSpec { directions, cell: case.cell };
            let layer = backend.recurrent(&alone, case.format)?;
            let order: Vec<usize> = match d {
                0 => (0..rows.rows()).collect(),
                _ => reversed(&rows).collect(),
            };
            let x = columns_of(&case.x().to_f32(), 2 * gates, d * gates..(d + 1) * gates);
            let x = rows_of(&host(rows.rows(), gates, &x), order.iter().copied());
            let vectors = |state: &[f32]| -> Vec<f32> {
                let of = |row: &[f32]| -> Vec<f32> {
                    row.chunks(2 * m).flat_map(|v| &v[d * m..(d + 1) * m]).copied().collect()
                };
                state.chunks(case.state_width()).flat_map(of).collect()
            };
            let width = case.cell.vectors() * m;
            let begin = case.state().map(|s| host(rows.sequences(), width, &vectors(&s.to_f32())));
            let (one, end) = both(backend, &layer, &rows, &x, begin.as_ref())?;
            let one = rows_of(&host(rows.rows(), m, &one), order).to_f32();
            bits("one direction", &columns_of(&out, 2 * m, d * m..(d + 1) * m), &one)?;
            bits("its state", &vectors(&state), &end)?;
        }
        Ok(())
    })
}

/// A sequence alone gives the bits that it gives among the others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(cases_on::<Recur>(backend), |case| {
        let layer = backend.recurrent(&case.spec(), case.format)?;
        let (out, state) = whole(backend, case)?;
        for (i, range) in case.rows().ranges().enumerate() {
            let one = Ragged::from_lengths([range.len()]);
            let begin = case.state().map(|s| rows_of(&s, [i]));
            let x = rows_of(&case.x(), range.clone());
            let (alone, end) = both(backend, &layer, &one, &x, begin.as_ref())?;
            let expected = &out[range.start * case.output()..range.end * case.output()];
            bits(&format!("sequence {i} alone"), expected, &alone)?;
            let expected = &state[i * case.state_width()..(i + 1) * case.state_width()];
            bits(&format!("state of sequence {i} alone"), expected, &end)?;
        }
        Ok(())
    })
}

/// A NaN makes its row NaN, and nothing of another sequence.
pub fn keeps_nan_in_its_sequence<B: SeqBackend>(backend: &B) -> Outcome {
    each((cases_on::<Recur>(backend), any::<prop::sample::Index>()), |(case, at)| {
        let rows = case.rows();
        if rows.rows() == 0 {
            return Ok(());
        }
        let at = at.index(rows.rows());
        let width = case.directions * case.gates();
        let mut x = case.x().to_f32();
        x[at * width..(at + 1) * width].fill(f32::NAN);
        let layer = backend.recurrent(&case.spec(), case.format)?;
        let x = host(rows.rows(), width, &x);
        let (got, _) = both(backend, &layer, &rows, &x, case.state().as_ref())?;
        let (clean, _) = whole(backend, case)?;
        for range in rows.ranges() {
            let values = range.start * case.output()..range.end * case.output();
            if !range.contains(&at) {
                bits("another sequence", &clean[values.clone()], &got[values])?;
            }
        }
        let row = &got[at * case.output()..(at + 1) * case.output()];
        match row.iter().all(|v| v.is_nan()) {
            true => Ok(()),
            false => super::fail(format!("row {at}, all of NaN, gave {row:?}")),
        }
    })
}
