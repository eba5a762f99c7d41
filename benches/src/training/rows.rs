//! What is done to rows and columns: gathering, pooling, dropping, adding, and taking apart.

use super::{DROPOUT, DROPPING, Size, Training, data};
use crate::bench::{Bench, Call};
use crate::work::Work;
use seq2seq_core::train::TrainBackend;
use seq2seq_core::{Error, Pool, Ragged, Result};

/// Rows of sequences of one length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    sequences: usize,
    length: usize,
    width: usize,
}

impl Case {
    fn rows(&self) -> usize {
        self.sequences * self.length
    }

    fn elements(&self) -> usize {
        self.rows() * self.width
    }
}

fn encoder(size: &Size) -> Vec<(String, Case)> {
    let case = Case { sequences: size.sequences, length: size.source, width: size.width };
    vec![(format!("bert-base, {} of {}", case.sequences, case.length), case)]
}

/// What a recurrent decoder does once a step, over all steps at once.
fn decoder(size: &Size) -> Vec<(String, Case)> {
    let case = Case { sequences: size.sentences, length: size.words, width: size.recurrent };
    vec![(format!("Lstm of {}, {} of {}", case.width, case.sequences, case.length), case)]
}

/// The first row of each sequence, which a head classifies.
pub(super) struct GatherRowsBackward;

impl Training for GatherRowsBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        encoder(size)
    }
}

/// The gradient of all rows is written, zeros mostly.
impl Bench for GatherRowsBackward {
    const NAME: &'static str = "gather_rows_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(0, case.sequences * case.width + case.elements())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, count) = (backend.clone(), case.rows());
        let dy = data::rows(&backend, 1, [case.sequences, case.width])?;
        let rows: Vec<usize> = (0..case.sequences).map(|i| i * case.length).collect();
        Ok(Box::new(move || backend.gather_rows_backward(&dy, &rows, count, &mut None)))
    }
}

/// The mean of each sequence.
pub(super) struct PoolBackward;

impl Training for PoolBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        encoder(size)
    }
}

/// A division an element of `dy`.
impl Bench for PoolBackward {
    const NAME: &'static str = "pool_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let pooled = case.sequences * case.width;
        Work::f32(pooled, pooled + case.elements())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let backend = backend.clone();
        let rows = Ragged::from_lengths(vec![case.length; case.sequences]);
        let dy = data::rows(&backend, 1, [case.sequences, case.width])?;
        Ok(Box::new(move || backend.pool_backward(&dy, &rows, Pool::Mean, &mut None)))
    }
}

/// Of embeddings, say.
pub(super) struct ApplyDropout;

impl Training for ApplyDropout {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        encoder(size)
    }
}

/// That of dropout on each element.
impl Bench for ApplyDropout {
    const NAME: &'static str = "apply_dropout";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(DROPPING * case.elements(), 2 * case.elements())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let backend = backend.clone();
        let x = data::rows(&backend, 1, [case.rows(), case.width])?;
        Ok(Box::new(move || backend.apply_dropout(&x, DROPOUT).map(drop)))
    }
}

/// Where two ways back meet: those of a block and of the residual around it.
pub(super) struct Add;

impl Training for Add {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        encoder(size)
    }
}

/// A sum an element. A call takes a tensor and does not give it back.
impl Bench for Add {
    const NAME: &'static str = "add";
    type Case = Case;

    fn calls(_: &Case) -> usize {
        32
    }

    fn work(case: &Case) -> Work {
        Work::f32(case.elements(), 3 * case.elements())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let backend = backend.clone();
        let mut gradient = Some(data::rows(&backend, 1, [case.rows(), case.width])?);
        // Made on the device, as a GPU is given many.
        let tensor = |_| backend.zeros(case.rows(), case.width);
        let mut left = (0..Self::calls(case)).map(tensor).collect::<Result<Vec<_>>>()?;
        Ok(Box::new(move || {
            let spent = || Error::invalid("add", "all tensors of this case have been added");
            backend.add(left.pop().ok_or_else(spent)?, &mut gradient)
        }))
    }
}

/// One of two halves, such as h of h and c.
pub(super) struct ColumnsBackward;

impl Training for ColumnsBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        decoder(size)
    }
}

/// A copy.
impl Bench for ColumnsBackward {
    const NAME: &'static str = "columns_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(0, 2 * case.elements())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, width) = (backend.clone(), case.width);
        let dy = data::rows(&backend, 1, [case.rows(), 2 * width])?;
        Ok(Box::new(move || backend.columns_backward(&dy, width, (width, 0..width), &mut None)))
    }
}

/// The rows of one step out of those of all.
pub(super) struct StackRowsBackward;

impl Training for StackRowsBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        decoder(size)
    }
}

/// A copy.
impl Bench for StackRowsBackward {
    const NAME: &'static str = "stack_rows_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(0, 2 * case.sequences * case.width)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, step) = (backend.clone(), case.sequences);
        let dy = data::rows(&backend, 1, [case.rows(), case.width])?;
        Ok(Box::new(move || backend.stack_rows_backward(&dy, 0..step, &mut None)))
    }
}
