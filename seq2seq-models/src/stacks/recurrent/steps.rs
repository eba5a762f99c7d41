//! A decoder whose steps read what the one before gave.

use super::{
    attention::{Asking, Attention, Memory},
    decoder::Decoder,
    state::Moving,
};
use crate::{Error, Result};
use seq2seq_core::{Part, Ragged, SeqBackend};

/// What all steps of a pass share.
pub(super) struct Steps<'a, B: SeqBackend> {
    pub(super) decoder: &'a Decoder<B>,
    pub(super) backend: &'a B,
    pub(super) attention: &'a Attention<B>,
    pub(super) memory: &'a Memory<B>,
}

impl<B: SeqBackend> Steps<'_, B> {
    /// One row of each hypothesis. The attention of each is appended to `weights`.
    pub(super) fn step(
        &self,
        x: &B::Tensor,
        rows: &Ragged,
        moving: &mut Moving<B>,
        weights: Option<&mut Vec<f32>>,
    ) -> Result<B::Tensor> {
        let Self { decoder, backend, attention, memory } = *self;
        let Moving { layers, fed, sources } = moving;
        let asking = Asking { rows, sources, weights };
        let beside = |x: &B::Tensor, fed| backend.columns(&[Part::all(x), Part::all(fed)]);
        let nothing = || Error::input("a decoder has layers and is fed");
        if decoder.asks_first() {
            let last = layers.last().ok_or_else(nothing)?;
            let before = [Part { tensor: last, columns: 0..decoder.plan.width }];
            let before = backend.columns(&before)?;
            let context = attention.context(backend, &before, memory, asking)?;
            let x = decoder.recur(backend, beside(x, &context)?, rows, layers)?;
            return attention.output(backend, &context, &x);
        }
        let x = beside(x, fed.as_ref().ok_or_else(nothing)?)?;
        let x = decoder.recur(backend, x, rows, layers)?;
        let context = attention.context(backend, &x, memory, asking)?;
        let output = attention.output(backend, &context, &x)?;
        *fed = Some(backend.columns(&[Part::all(&output)])?);
        Ok(output)
    }

    /// Any number of rows of each hypothesis, a row of each at a time; those that have had their rows are set aside.
    pub(super) fn all(
        &self,
        x: &B::Tensor,
        rows: &Ragged,
        moving: &mut Moving<B>,
        source_rows: &Ragged,
        weights: Option<&mut Vec<f32>>,
    ) -> Result<B::Tensor> {
        let (backend, count) = (self.backend, rows.sequences());
        let mut now = std::mem::replace(moving, Moving::none());
        let mut live: Vec<usize> = (0..count).collect();
        let (mut aside, mut outputs, mut order) = (Vec::new(), Vec::new(), Vec::new());
        let mut recorded = weights.as_ref().map(|_| vec![Vec::new(); rows.rows()]);
        for t in 0..rows.longest() {
            let goes_on = |&place: &usize| t < rows.length(live[place]);
            let still: Vec<usize> = (0..live.len()).filter(goes_on).collect();
            if still.len() < live.len() {
                let next = now.gather(backend, &still)?;
                let numbers = still.iter().map(|&place| live[place]).collect();
                aside.push((
                    std::mem::replace(&mut live, numbers),
                    std::mem::replace(&mut now, next),
                ));
            }
            let taken: Vec<usize> = live.iter().map(|&i| rows.range(i).start + t).collect();
            let x = backend.gather_rows(x, &taken)?;
            let mut list = recorded.as_ref().map(|_| Vec::new());
            let each = Ragged::single_rows(live.len());
            outputs.push(self.step(&x, &each, &mut now, list.as_mut())?);
            if let (Some(list), Some(recorded)) = (list, &mut recorded) {
                let mut rest = list.as_slice();
                for (&row, &source) in taken.iter().zip(&now.sources) {
                    let (own, others) = rest.split_at(source_rows.length(source));
                    (recorded[row], rest) = (own.to_vec(), others);
                }
            }
            order.extend(taken);
        }
        aside.push((live, now));
        *moving = Moving::join(backend, aside, count)?;
        if let (Some(weights), Some(recorded)) = (weights, recorded) {
            weights.extend(recorded.into_iter().flatten());
        }
        in_order(backend, &outputs, &order)
    }
}

/// The rows of all steps, of which the nth is row `order[n]` of the result.
pub(super) fn in_order<B: SeqBackend>(
    backend: &B,
    steps: &[B::Tensor],
    order: &[usize],
) -> Result<B::Tensor> {
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(place, &row)| places[row] = place);
    let all = backend.stack_rows(&steps.iter().collect::<Vec<_>>())?;
    Ok(backend.gather_rows(&all, &places)?)
}
