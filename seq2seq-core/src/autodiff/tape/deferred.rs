//! Gradients of weights that many records share.
//!
//! A decoder that is fed with what it gave passes its layers once a step, a few rows at a time. The gradient of a weight is a
//! product over the rows, which over a few is nothing but reading and writing the whole gradient. So the rows of all uses of
//! a layer are held until the first of them has been passed on the way back, and then are multiplied at once.

use super::super::layers::{LinearShared, RecurrentShared, read};
use super::super::parameters::{Parameters, Taken};
use super::{Operand, Record, Tensor};
use crate::train::{LinearBackward, LinearGradients, RecurPass, TrainBackend};
use crate::{Activation, Error, Ragged, Result};
use std::{collections::HashMap, sync::Arc};

/// What is held back.
pub(super) struct Deferred<B: TrainBackend> {
    /// By the address of the layer.
    uses: HashMap<usize, Uses<B>>,
}

struct Uses<B: TrainBackend> {
    /// Records that have not been passed yet.
    left: usize,
    /// Whether there were several.
    several: bool,
    held: Held<B>,
}

/// The uses of one layer that have been passed.
enum Held<B: TrainBackend> {
    Linear(Arc<LinearShared<B>>, Vec<LinearUse<B>>),
    Recurrent(Arc<RecurrentShared<B>>, Vec<RecurUse<B>>),
}

/// A use of a linear layer without dropout and residual.
pub(super) struct LinearUse<B: TrainBackend> {
    pub(super) x: Operand<B>,
    pub(super) sums: Option<B::Tensor>,
    pub(super) activation: Option<Activation>,
    pub(super) dy: B::Tensor,
}

/// A use of the recurrent half of a layer.
pub(super) struct RecurUse<B: TrainBackend> {
    pub(super) rows: Ragged,
    pub(super) state: Option<Tensor<B>>,
    pub(super) y: Arc<B::Tensor>,
    pub(super) du: B::Tensor,
}

impl<B: TrainBackend> RecurUse<B> {
    fn pass(&self) -> RecurPass<'_, B::Tensor> {
        RecurPass {
            rows: &self.rows,
            state: self.state.as_ref().map(Tensor::value),
            y: &self.y,
            du: &self.du,
        }
    }
}

/// The layer of a record, by its address.
pub(super) fn layer_of<B: TrainBackend>(record: &Record<B>) -> Option<usize> {
    match record {
        Record::Linear { layer, .. } => Some(Arc::as_ptr(layer).addr()),
        Record::Recur(recurrence) => Some(Arc::as_ptr(&recurrence.layer).addr()),
        _ => None,
    }
}

/// Layers are counted from the records, so each has its uses.
fn unrecorded() -> Error {
    Error::invalid("autodiff", "a layer that no record has")
}

impl<B: TrainBackend> Default for Deferred<B> {
    fn default() -> Self {
        Self { uses: HashMap::new() }
    }
}

impl<B: TrainBackend> Deferred<B> {
    /// Nothing yet, of these records.
    pub(super) fn of(records: &[Record<B>]) -> Self {
        let mut uses: HashMap<usize, Uses<B>> = HashMap::new();
        for record in records {
            let held = match record {
                Record::Linear { layer, .. } => Held::Linear(layer.clone(), Vec::new()),
                Record::Recur(of) => Held::Recurrent(of.layer.clone(), Vec::new()),
                _ => continue,
            };
            let Some(layer) = layer_of(record) else { continue };
            let of = uses.entry(layer).or_insert(Uses { left: 0, several: false, held });
            of.several = of.left > 0;
            of.left += 1;
        }
        Self { uses }
    }

    /// Whether there are other uses of a layer, with the same activation.
    pub(super) fn several(
        &self,
        layer: &Arc<LinearShared<B>>,
        activation: Option<Activation>,
    ) -> bool {
        match self.uses.get(&Arc::as_ptr(layer).addr()) {
            Some(Uses { several, held: Held::Linear(_, held), .. }) => {
                *several && held.first().is_none_or(|first| first.activation == activation)
            }
            _ => false,
        }
    }

    pub(super) fn linear(
        &mut self,
        layer: &Arc<LinearShared<B>>,
        used: LinearUse<B>,
    ) -> Result<()> {
        match self.uses.get_mut(&Arc::as_ptr(layer).addr()) {
            Some(Uses { held: Held::Linear(_, held), .. }) => held.push(used),
            _ => return Err(unrecorded()),
        }
        Ok(())
    }

    pub(super) fn recur(
        &mut self,
        layer: &Arc<RecurrentShared<B>>,
        used: RecurUse<B>,
    ) -> Result<()> {
        match self.uses.get_mut(&Arc::as_ptr(layer).addr()) {
            Some(Uses { held: Held::Recurrent(_, held), .. }) => held.push(used),
            _ => return Err(unrecorded()),
        }
        Ok(())
    }

    /// A record of a layer has been passed; behind the last comes the product.
    pub(super) fn passed(
        &mut self,
        inner: &B,
        parameters: &mut Parameters<B>,
        layer: usize,
    ) -> Result<()> {
        let Some(uses) = self.uses.get_mut(&layer) else { return Ok(()) };
        uses.left -= 1;
        if uses.left > 0 {
            return Ok(());
        }
        match &mut uses.held {
            Held::Linear(layer, held) => linear(inner, parameters, layer, std::mem::take(held)),
            Held::Recurrent(layer, held) => {
                recurrent(inner, parameters, layer, std::mem::take(held))
            }
        }
    }
}

fn linear<B: TrainBackend>(
    inner: &B,
    parameters: &mut Parameters<B>,
    layer: &LinearShared<B>,
    held: Vec<LinearUse<B>>,
) -> Result<()> {
    let mut taken = Taken::of(parameters, &layer.parts);
    if held.is_empty() || !taken.any() {
        return taken.put(inner, parameters);
    }
    // From the first row of the pass to the last.
    let stack = |rows: Vec<&B::Tensor>| inner.stack_rows(&rows);
    let x = held.iter().rev().map(|used| used.x.value());
    let x = stack(x.collect::<Result<_>>()?)?;
    let dy = stack(held.iter().rev().map(|used| &used.dy).collect())?;
    let sums: Option<Vec<_>> = held.iter().rev().map(|used| used.sums.as_ref()).collect();
    let sums = sums.map(stack).transpose()?;
    let activation = held.first().and_then(|used| used.activation);
    drop(held);
    let of = LinearBackward { x: &x, sums: sums.as_ref(), activation, dropout: None, dy: &dy };
    let gradients = LinearGradients { x: None, parts: taken.wanted() };
    inner.linear_backward(&read(&layer.layer), &of, gradients)?;
    taken.put(inner, parameters)
}

fn recurrent<B: TrainBackend>(
    inner: &B,
    parameters: &mut Parameters<B>,
    layer: &RecurrentShared<B>,
    held: Vec<RecurUse<B>>,
) -> Result<()> {
    let mut taken = Taken::of(parameters, &layer.parts);
    if held.is_empty() || !taken.any() {
        return taken.put(inner, parameters);
    }
    // From the first row of the pass to the last.
    let passes: Vec<_> = held.iter().rev().map(RecurUse::pass).collect();
    inner.recur_weights_backward(&read(&layer.layer), &passes, taken.wanted())?;
    taken.put(inner, parameters)
}
