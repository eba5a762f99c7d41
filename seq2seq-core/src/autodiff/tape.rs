//! What was computed, in order, and the way back.

mod checkpoint;
mod deferred;
mod record;
mod recurrent;

pub(super) use record::{Kept, Lookup, Operand, Record, WindowsOf};
pub(super) use recurrent::{Attended, ColumnsPart, Recurrence};

use super::layers::read;
use super::parameters::{Parameters, Taken};
use crate::train::{
    AttendBackward, CrossBackward, Dropout, Gradient, LinearBackward, LinearGradients, Looked,
    NormGradients, TrainBackend, draw_backward,
};
use crate::{Error, HostTensor, Result, Rows};
use checkpoint::Checkpoints;
use deferred::{Deferred, LinearUse, layer_of};
use record::forgotten;
use std::sync::Arc;

/// Activations, and where on the tape they came from.
///
/// ```
/// use seq2seq_core::{autodiff::Autodiff, reference::Reference, train::OptimiserOps, *};
///
/// let b = Autodiff::new(Reference);
/// let x = b.upload(&HostTensor::from_f32(vec![1, 2], &[1.0, 2.0])?)?;
/// assert_eq!((x.rows(), x.width()), (1, 2));
/// // What the backend below has of it, for whatever is not to be recorded.
/// assert_eq!(Reference.sums_of_squares(&[x.value()])?, [5.0]);
/// # Ok::<(), Error>(())
/// ```
pub struct Tensor<B: TrainBackend> {
    value: Arc<B::Tensor>,
    /// `None` for what depends on no parameter.
    node: Option<Node>,
}

/// A record of a pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    pass: u64,
    index: usize,
}

impl<B: TrainBackend> Tensor<B> {
    /// What depends on no parameter.
    pub(super) fn constant(value: B::Tensor) -> Self {
        Self { value: Arc::new(value), node: None }
    }

    /// The tensor of the backend below.
    pub fn value(&self) -> &B::Tensor {
        &self.value
    }

    /// Whether it depends on a parameter.
    pub(super) fn depends(&self) -> bool {
        self.node.is_some()
    }
}

impl<B: TrainBackend> Clone for Tensor<B> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), node: self.node }
    }
}

impl<B: TrainBackend> Rows for Tensor<B> {
    fn rows(&self) -> usize {
        self.value.rows()
    }

    fn width(&self) -> usize {
        self.value.width()
    }
}

/// The records of one pass.
pub(super) struct Tape<B: TrainBackend> {
    /// What dropout is decided by, with the next place; `None` where nothing is dropped.
    dropout: Option<Dropout>,
    /// A number that no other pass of this process has; 0 where nothing is recorded.
    pass: u64,
    records: Vec<Record<B>>,
    /// One for each record.
    gradients: Vec<Gradient<B::Tensor>>,
    /// Where layers are computed again on the way back.
    checkpoints: Option<Checkpoints>,
    /// On the way back.
    deferred: Deferred<B>,
}

impl<B: TrainBackend> Default for Tape<B> {
    fn default() -> Self {
        Self {
            dropout: None,
            pass: 0,
            records: Vec::new(),
            gradients: Vec::new(),
            checkpoints: None,
            deferred: Deferred::default(),
        }
    }
}

impl<B: TrainBackend> Tape<B> {
    pub(super) fn recording(dropout: Option<Dropout>) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static PASSES: AtomicU64 = AtomicU64::new(1);
        let pass = PASSES.fetch_add(1, Ordering::Relaxed);
        Self { dropout, pass, ..Self::default() }
    }

    pub(super) fn is_recording(&self) -> bool {
        self.pass != 0
    }

    /// The next use of dropout, where there is one at this rate.
    pub(super) fn dropout(&mut self, rate: f32) -> Option<Dropout> {
        let next = self.dropout.as_mut().filter(|_| rate > 0.0)?;
        let this = Dropout { rate, ..*next };
        next.place += 1;
        Some(this)
    }

    /// The record that gave `x`, where it depends on parameters.
    ///
    /// # Errors
    /// For a tensor of another pass, whose record is gone.
    pub(super) fn node(&self, x: &Tensor<B>) -> Result<Option<Node>> {
        match x.node {
            Some(node) if node.pass != self.pass => Err(Error::invalid(
                "autodiff",
                "a tensor of another pass; compute it again after begin",
            )),
            node => Ok(node),
        }
    }

    /// Whether anything is dropped.
    pub(super) fn drops(&self) -> bool {
        self.dropout.is_some()
    }

    /// `x` as a record keeps it whose way back reads it.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub(super) fn operand(&self, x: &Tensor<B>) -> Result<Operand<B>> {
        self.node(x).map(|_| Operand::of(x))
    }

    /// `x` as a record keeps it whose way back asks only where it came from: with its value if that may have to be
    /// computed with again.
    ///
    /// # Errors
    /// As [`node`](Self::node).
    pub(super) fn place(&self, x: &Tensor<B>) -> Result<Operand<B>> {
        self.node(x)?;
        Ok(if self.checkpoints.is_some() { Operand::of(x) } else { Operand::place(x) })
    }

    /// The result of an operation.
    pub(super) fn push(&mut self, value: Arc<B::Tensor>, record: Record<B>) -> Tensor<B> {
        let node = Node { pass: self.pass, index: self.records.len() };
        self.records.push(record);
        self.gradients.push(None);
        Tensor { value, node: Some(node) }
    }

    pub(super) fn seed(&mut self, inner: &B, y: &Tensor<B>, gradient: B::Tensor) -> Result<()> {
        const OP: &str = "seed";
        if !self.is_recording() {
            return Ok(());
        }
        Error::expect(OP, "rows of the gradient", y.rows(), gradient.rows())?;
        Error::expect(OP, "width of the gradient", y.width(), gradient.width())?;
        match self.node(y)? {
            Some(node) => inner.add(gradient, &mut self.gradients[node.index]),
            None => Ok(()),
        }
    }

    /// From the last record to the first; each is gone once it has been passed.
    pub(super) fn backward(mut self, inner: &B, parameters: &mut Parameters<B>) -> Result<()> {
        self.deferred = Deferred::of(&self.records);
        loop {
            self.compute_again(inner)?;
            let (Some(record), Some(gradient)) = (self.records.pop(), self.gradients.pop()) else {
                return Ok(());
            };
            let layer = layer_of(&record);
            match (record, gradient) {
                (Record::Recur(recurrence), dy) => self.recur(inner, recurrence, dy)?,
                (record, Some(dy)) => self.step(inner, parameters, record, dy)?,
                (_, None) => {}
            }
            if let Some(layer) = layer {
                self.deferred.passed(inner, parameters, layer)?;
            }
        }
    }

    /// The gradient of what was read, to be added to.
    fn of(&mut self, x: &Operand<B>) -> Option<&mut Gradient<B::Tensor>> {
        self.at(x.node)
    }

    fn at(&mut self, node: Option<Node>) -> Option<&mut Gradient<B::Tensor>> {
        node.map(|node| &mut self.gradients[node.index])
    }

    fn step(
        &mut self,
        inner: &B,
        parameters: &mut Parameters<B>,
        record: Record<B>,
        dy: B::Tensor,
    ) -> Result<()> {
        match record {
            Record::Linear { layer, x, sums, activation, dropout, residual } => {
                let residual = residual.and_then(|residual| residual.node);
                let of = LinearBackward {
                    x: x.value()?,
                    sums: sums.as_ref(),
                    activation,
                    dropout,
                    dy: &dy,
                };
                let plain = dropout.is_none() && residual.is_none();
                if plain && self.deferred.several(&layer, activation) {
                    let parts = layer.parts.iter().map(|_| [None, None]).collect();
                    let gradients = LinearGradients { x: self.of(&x), parts };
                    inner.linear_backward(&read(&layer.layer), &of, gradients)?;
                    return self.deferred.linear(&layer, LinearUse { x, sums, activation, dy });
                }
                let mut taken = Taken::of(parameters, &layer.parts);
                let gradients = LinearGradients { x: self.of(&x), parts: taken.wanted() };
                inner.linear_backward(&read(&layer.layer), &of, gradients)?;
                taken.put(inner, parameters)?;
                match residual {
                    Some(node) => inner.add(dy, &mut self.gradients[node.index]),
                    None => Ok(()),
                }
            }
            Record::Embed(lookups) => {
                lookups.iter().try_for_each(|Lookup { table, ids, scale }| {
                    let table_rows = parameters.value(*table).rows();
                    let mut taken = parameters.take(*table);
                    if let Some(gradient) = &mut taken {
                        let looked = Looked { ids, scale: *scale, table_rows };
                        inner.embed_backward(looked, &dy, gradient)?;
                    }
                    parameters.put(inner, *table, taken)
                })
            }
            Record::Norm { norm, x } => {
                let mut weight = parameters.take(norm.weight);
                let mut bias = norm.bias.and_then(|id| parameters.take(id));
                let gradients =
                    NormGradients { x: self.of(&x), weight: weight.as_mut(), bias: bias.as_mut() };
                inner.norm_backward(x.value()?, &read(&norm.norm), &dy, gradients)?;
                parameters.put(inner, norm.weight, weight)?;
                norm.bias.map_or(Ok(()), |id| parameters.put(inner, id, bias))
            }
            Record::GatherRows { x, rows, count } => {
                inner.gather_rows_backward(&dy, &rows, count, &mut self.gradients[x.index])
            }
            Record::Pool { x, rows, pool } => {
                inner.pool_backward(&dy, &rows, pool, &mut self.gradients[x.index])
            }
            Record::Dropout { x, dropout } => {
                let dx = inner.apply_dropout(&dy, dropout)?;
                self.of(&x).map_or(Ok(()), |gradient| inner.add(dx, gradient))
            }
            Record::Attend { qkv, kept, attention, bias, dropout } => {
                let Kept { y, log_sums } = kept.ok_or_else(forgotten)?;
                let mut table = bias.as_ref().and_then(|b| parameters.take(b.table));
                {
                    let bias = bias.as_ref().map(|b| read(&b.bias));
                    let of = AttendBackward {
                        qkv: qkv.value()?,
                        y: &y,
                        log_sums: &log_sums,
                        rows: &attention.rows,
                        spec: &attention.spec,
                        bias: bias.as_deref(),
                        dropout,
                        dy: &dy,
                    };
                    inner.attend_backward(&of, self.of(&qkv), table.as_mut())?;
                }
                bias.map_or(Ok(()), |b| parameters.put(inner, b.table, table))
            }
            Record::CrossAttend { q, kept, attention, memory, sources, dropout } => {
                let Kept { y, log_sums } = kept.ok_or_else(forgotten)?;
                let of = CrossBackward {
                    q: q.value()?,
                    y: &y,
                    log_sums: &log_sums,
                    rows: &attention.rows,
                    kv: memory.kv.value(),
                    source_rows: &memory.rows,
                    memory: &memory.memory,
                    sources: &sources,
                    spec: &attention.spec,
                    dropout,
                    dy: &dy,
                };
                // Queries and keys come from two records: their gradients are taken apart for the call.
                let mut kv = self.at(memory.kv.node).map(Option::take);
                inner.cross_attend_backward(&of, self.of(&q), kv.as_mut())?;
                match (kv.flatten(), self.at(memory.kv.node)) {
                    (Some(kv), Some(gradient)) => inner.add(kv, gradient),
                    _ => Ok(()),
                }
            }
            Record::Recur(recurrence) => self.recur(inner, recurrence, Some(dy)),
            Record::RecurEnd(of) => {
                self.recur_end(of, dy);
                Ok(())
            }
            Record::Columns(parts) => self.columns(inner, parts, dy),
            Record::StackRows(parts) => self.stack_rows(inner, parts, dy),
            Record::AdditiveAttend(attended) => {
                self.additive_attend(inner, parameters, attended, dy)
            }
            Record::Windows(WindowsOf { x, grids, windows, channels }) => match self.of(&x) {
                Some(dx) => inner.windows_backward(&dy, &grids, &windows, channels, dx),
                None => Ok(()),
            },
            Record::Draw { posteriors, slopes } => {
                let (rows, size) = (dy.rows(), dy.width());
                let gradient = draw_backward(&inner.download(&dy)?, &slopes, size);
                let gradient = HostTensor::from_f32(vec![rows, 2 * size], &gradient)?;
                inner.add(inner.upload(&gradient)?, &mut self.gradients[posteriors.index])
            }
        }
    }
}
