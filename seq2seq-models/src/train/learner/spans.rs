//! The loss of extractive question answering.

use crate::{Error, Result, train::Batch};
use seq2seq_core::{
    Backend, HostTensor,
    autodiff::{Autodiff, Tensor},
    train::{Loss, Smoothing, TrainBackend},
};

/// The columns of scores: of the start and of the end.
const COLUMNS: usize = 2;

/// The cross-entropy of the first and of the last token of each answer over the tokens of its sequence. `scores` is `[N, 2]`,
/// and each sequence has two targets. The mean over targets is the loss of transformers: that of starts and that of ends, halved.
///
/// What is two numbers a token goes through the host: a softmax down the rows of one sequence is none of the operations.
pub(super) fn loss<B: TrainBackend>(
    b: &Autodiff<B>,
    scores: &Tensor<B>,
    batch: &Batch,
    smoothing: Smoothing,
) -> Result<Loss> {
    let sequences = &batch.input.input_ids;
    let (found, expected) = (batch.targets.len(), COLUMNS * sequences.len());
    if found != expected {
        return Err(Error::Input(format!(
            "{found} targets for {} sequences; each has the first and the last token of its answer",
            sequences.len()
        )));
    }
    let values = b.download(scores)?;
    let mut gradient = vec![0.0; values.len()];
    let (mut loss, mut begin) = (Loss::default(), 0);
    for (ids, targets) in sequences.iter().zip(batch.targets.chunks(COLUMNS)) {
        let end = begin + COLUMNS * ids.len();
        for (column, &target) in targets.iter().enumerate() {
            let places = (begin + column..end).step_by(COLUMNS);
            let logits: Vec<f32> = places.clone().map(|at| values[at]).collect();
            let row = b.inner().upload(&HostTensor::from_f32(vec![1, ids.len()], &logits)?)?;
            let (part, slope) = b.inner().cross_entropy(&row, &[target], smoothing)?;
            loss += part;
            let slope = b.inner().download(&slope)?;
            places.zip(slope).for_each(|(at, slope)| gradient[at] = slope);
        }
        begin = end;
    }
    let shape = vec![values.len() / COLUMNS, COLUMNS];
    b.seed(scores, b.inner().upload(&HostTensor::from_f32(shape, &gradient)?)?)?;
    Ok(loss)
}
