//! Additive attention of recurrent decoders.

use super::{Size, Training, data};
use crate::bench::{Bench, Call};
use crate::work::{SOFTMAX, Work};
use seq2seq_core::train::{AdditiveBackward as Of, AdditiveGradients, TrainBackend};
use seq2seq_core::{Ragged, Result};

/// Rows of targets, each of which attends to its source; A and M are equal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    sequences: usize,
    source: usize,
    /// Rows of each target.
    target: usize,
    width: usize,
}

impl Case {
    /// Pairs of query and key.
    fn scores(&self) -> usize {
        self.sequences * self.target * self.source
    }

    /// Values of queries, of results, or of their gradients.
    fn target_values(&self) -> usize {
        self.sequences * self.target * self.width
    }

    /// Values of keys and values, or of their gradients.
    fn memory(&self) -> usize {
        2 * self.sequences * self.source * self.width
    }
}

/// A step of a decoding that is fed with what it gave, and a target that is known.
fn cases(size: &Size) -> Vec<(String, Case)> {
    let (sequences, source) = (size.sentences, size.words);
    let case = |target| Case { sequences, source, target, width: size.recurrent / 2 };
    let named = |case: Case| {
        let Case { sequences, source, target, width } = case;
        (format!("{width} wide, {sequences} of {target} to {source}"), case)
    };
    [1, size.words].map(|target| named(case(target))).into()
}

struct Prepared<B: TrainBackend> {
    q: B::Tensor,
    rows: Ragged,
    v: B::Additive,
    memory: B::AdditiveMemory,
    sources: Vec<usize>,
}

impl<B: TrainBackend> Prepared<B> {
    fn new(backend: &B, case: &Case) -> Result<Self> {
        let rows = Ragged::from_lengths(vec![case.target; case.sequences]);
        let source_rows = Ragged::from_lengths(vec![case.source; case.sequences]);
        let [keys, values] =
            [1, 2].map(|seed| data::rows(backend, seed, [source_rows.rows(), case.width]));
        Ok(Self {
            q: data::rows(backend, 3, [rows.rows(), case.width])?,
            v: backend.additive(&data::host(4, [case.width], 1.0)?)?,
            memory: backend.additive_memory(&keys?, &values?, &source_rows)?,
            sources: (0..case.sequences).collect(),
            rows,
        })
    }

    fn forward(&self, backend: &B) -> Result<(B::Tensor, B::Tensor)> {
        let Self { q, rows, v, memory, sources } = self;
        backend.additive_attend_forward(q, rows, v, memory, sources)
    }
}

/// Once a step.
pub(super) struct RenewAdditive;

impl Training for RenewAdditive {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        let case = Case { sequences: 0, source: 0, target: 0, width: size.recurrent / 2 };
        vec![(format!("{} wide", case.width), case)]
    }
}

/// A copy.
impl Bench for RenewAdditive {
    const NAME: &'static str = "renew_additive";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(0, 2 * case.width)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let backend = backend.clone();
        let mut held = backend.additive(&data::host(1, [case.width], 1.0)?)?;
        let v = data::rows(&backend, 2, [1, case.width])?;
        Ok(Box::new(move || backend.renew_additive(&mut held, &v)))
    }
}

/// What comes out, and the probabilities.
pub(super) struct AdditiveAttendForward;

impl Training for AdditiveAttendForward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        cases(size)
    }
}

/// A score is a sum, tanh, a product and a sum for each of the A columns; its share of the result 2 · M.
impl Bench for AdditiveAttendForward {
    const NAME: &'static str = "additive_attend_forward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(
            case.scores() * (6 * case.width + SOFTMAX),
            case.memory() + 2 * case.target_values() + case.width + case.scores(),
        )
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, p) = (backend.clone(), Prepared::new(backend, case)?);
        Ok(Box::new(move || p.forward(&backend).map(drop)))
    }
}

/// Gradients of queries, keys, values and v.
pub(super) struct AdditiveAttendBackward;

impl Training for AdditiveAttendBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        cases(size)
    }
}

/// A score: t again is a sum and tanh for each of the A columns, dv two operations, ds v (1 - t²) four, and two sums; dp and
/// dvalue are 2 · M each; Σ p dp and ds two each.
impl Bench for AdditiveAttendBackward {
    const NAME: &'static str = "additive_attend_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(
            case.scores() * (10 * case.width + 4 * case.width + 4),
            2 * case.memory() + 3 * case.target_values() + 2 * case.width + case.scores(),
        )
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, p) = (backend.clone(), Prepared::new(backend, case)?);
        let dy = data::rows(&backend, 5, [p.rows.rows(), case.width])?;
        let (_, weights) = p.forward(&backend)?;
        Ok(Box::new(move || {
            let of = Of {
                q: &p.q,
                weights: &weights,
                rows: &p.rows,
                v: &p.v,
                memory: &p.memory,
                sources: &p.sources,
                dy: &dy,
            };
            let [mut q, mut keys, mut values, mut v] = [const { None }; 4];
            let gradients = AdditiveGradients {
                q: Some(&mut q),
                keys: Some(&mut keys),
                values: Some(&mut values),
                v: Some(&mut v),
            };
            backend.additive_attend_backward(&of, gradients)
        }))
    }
}
