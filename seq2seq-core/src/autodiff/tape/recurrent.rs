//! What recurrent models record, and the way back of it.

use super::super::layers::{AdditiveMemoryShared, AdditiveShared, RecurrentShared, read};
use super::super::parameters::Parameters;
use super::deferred::RecurUse;
use super::{Node, Operand, Record, Tape, Tensor};
use crate::train::{AdditiveBackward, AdditiveGradients, Gradient, RecurBackward, TrainBackend};
use crate::{Ragged, Result};
use std::{ops::Range, sync::Arc};

/// A recurrence over sequences or the next positions of them.
pub(in super::super) struct Recurrence<B: TrainBackend> {
    pub(in super::super) layer: Arc<RecurrentShared<B>>,
    pub(in super::super) rows: Ragged,
    pub(in super::super) x: Option<Node>,
    pub(in super::super) state: Option<Tensor<B>>,
    pub(in super::super) y: Arc<B::Tensor>,
    pub(in super::super) kept: B::Tensor,
    /// The gradient of the last state, which has a record of its own behind this one.
    pub(in super::super) dend: Gradient<B::Tensor>,
}

/// Columns that were put beside others.
pub(in super::super) struct ColumnsPart<B: TrainBackend> {
    pub(in super::super) x: Operand<B>,
    pub(in super::super) width: usize,
    pub(in super::super) columns: Range<usize>,
}

/// An additive attention.
pub(in super::super) struct Attended<B: TrainBackend> {
    pub(in super::super) q: Tensor<B>,
    pub(in super::super) weights: B::Tensor,
    pub(in super::super) rows: Ragged,
    pub(in super::super) v: Arc<AdditiveShared<B>>,
    pub(in super::super) memory: Arc<AdditiveMemoryShared<B>>,
    pub(in super::super) sources: Vec<usize>,
}

impl<B: TrainBackend> Tape<B> {
    /// The result of a recurrence and what its sequences end with.
    pub(in super::super) fn push_recurrence(
        &mut self,
        y: Arc<B::Tensor>,
        end: B::Tensor,
        recurrence: Recurrence<B>,
    ) -> (Tensor<B>, Tensor<B>) {
        let of = self.records.len();
        let y = self.push(y, Record::Recur(recurrence));
        (y, self.push(Arc::new(end), Record::RecurEnd(of)))
    }

    /// The gradient of a last state waits with its recurrence.
    pub(super) fn recur_end(&mut self, of: usize, dend: B::Tensor) {
        if let Some(Record::Recur(recurrence)) = self.records.get_mut(of) {
            recurrence.dend = Some(dend);
        }
    }

    pub(super) fn recur(
        &mut self,
        inner: &B,
        of: Recurrence<B>,
        dy: Gradient<B::Tensor>,
    ) -> Result<()> {
        if dy.is_none() && of.dend.is_none() {
            return Ok(());
        }
        let Recurrence { layer, rows, x, state, y, kept, dend } = of;
        let before = state.as_ref().and_then(|state| state.node);
        // The gradients of input and state are taken apart for the call.
        let (mut dx, mut dstate) = (self.take(x), self.take(before));
        let backward = RecurBackward {
            rows: &rows,
            state: state.as_ref().map(Tensor::value),
            y: &y,
            kept: &kept,
            dy: dy.as_ref(),
            dend: dend.as_ref(),
        };
        let du =
            inner.recur_backward(&read(&layer.layer), &backward, dx.as_mut(), dstate.as_mut())?;
        self.put(inner, x, dx)?;
        self.put(inner, before, dstate)?;
        self.deferred.recur(&layer, RecurUse { rows, state, y, du })
    }

    pub(super) fn columns(
        &mut self,
        inner: &B,
        parts: Vec<ColumnsPart<B>>,
        dy: B::Tensor,
    ) -> Result<()> {
        if let [ColumnsPart { x: Operand { node: Some(node), .. }, width, columns }] = &parts[..]
            && columns.len() == *width
        {
            return inner.add(dy, &mut self.gradients[node.index]);
        }
        let mut from = 0;
        for ColumnsPart { x, width, columns } in parts {
            let count = columns.len();
            if let Some(node) = x.node {
                let gradient = &mut self.gradients[node.index];
                inner.columns_backward(&dy, from, (width, columns), gradient)?;
            }
            from += count;
        }
        Ok(())
    }

    pub(super) fn stack_rows(
        &mut self,
        inner: &B,
        parts: Vec<(Option<Node>, usize)>,
        dy: B::Tensor,
    ) -> Result<()> {
        let mut from = 0;
        for (node, count) in parts {
            if let Some(node) = node {
                let gradient = &mut self.gradients[node.index];
                inner.stack_rows_backward(&dy, from..from + count, gradient)?;
            }
            from += count;
        }
        Ok(())
    }

    pub(super) fn additive_attend(
        &mut self,
        inner: &B,
        parameters: &mut Parameters<B>,
        of: Attended<B>,
        dy: B::Tensor,
    ) -> Result<()> {
        let Attended { q, weights, rows, v, memory, sources } = of;
        let nodes = [q.node, memory.keys.node, memory.values.node];
        let [mut dq, mut dkeys, mut dvalues] = nodes.map(|node| self.take(node));
        let mut dv = parameters.take(v.v);
        let backward = AdditiveBackward {
            q: q.value(),
            weights: &weights,
            rows: &rows,
            v: &*read(&v.held),
            memory: &memory.memory,
            sources: &sources,
            dy: &dy,
        };
        let gradients = AdditiveGradients {
            q: dq.as_mut(),
            keys: dkeys.as_mut(),
            values: dvalues.as_mut(),
            v: dv.as_mut(),
        };
        inner.additive_attend_backward(&backward, gradients)?;
        for (node, taken) in nodes.into_iter().zip([dq, dkeys, dvalues]) {
            self.put(inner, node, taken)?;
        }
        parameters.put(inner, v.v, dv)
    }

    /// The gradient of a record, to be added to; [`put`](Self::put) brings it back.
    fn take(&mut self, node: Option<Node>) -> Option<Gradient<B::Tensor>> {
        node.map(|node| self.gradients[node.index].take())
    }

    /// Brings back what was taken, adding where one record was taken twice.
    fn put(
        &mut self,
        inner: &B,
        node: Option<Node>,
        taken: Option<Gradient<B::Tensor>>,
    ) -> Result<()> {
        match (node, taken.flatten()) {
            (Some(node), Some(gradient)) => inner.add(gradient, &mut self.gradients[node.index]),
            _ => Ok(()),
        }
    }
}
