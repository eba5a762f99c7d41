//! Layers of which the input alone is kept (Chen et al. 2016, "Training deep nets with sublinear memory cost").
//!
//! A record says what was computed of what. So when a layer ends ([`Stage`]), its records let go of every tensor that the
//! layer made itself, and keep those that it read: its input, and the memory of a cross-attention. On the way back the
//! records of a layer are computed again, all in their order, before the last of them is walked back. Dropout is decided by
//! counters that the records hold, so what was dropped is dropped again, and the gradients have the bits that they have
//! when everything is kept.

use super::super::layers::{Attention, read};
use super::record::{Kept, Operand, Record, forgotten};
use super::{ColumnsPart, Node, Tape};
use crate::train::{TrainBackend, TrainEpilogue};
use crate::{Error, Part, Result, Stage};
use std::{ops::Range, sync::Arc};

/// The layers of a pass.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// The first record of the layer that is being computed.
    begin: Option<usize>,
    /// The records of each layer that is to be computed again.
    layers: Vec<Range<usize>>,
}

impl<B: TrainBackend> Tape<B> {
    /// Keeps of each layer from here on only what it reads.
    pub(in super::super) fn checkpoint(&mut self) {
        self.checkpoints.get_or_insert_default();
    }

    /// A model has come so far.
    ///
    /// # Errors
    /// Where a layer ends that cannot be computed again.
    pub(in super::super) fn pass_stage(&mut self, stage: Stage) -> Result<()> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        let end = self.records.len();
        if let (Stage::Layer(..), Some(begin)) = (stage, checkpoints.begin) {
            self.records[begin..].iter_mut().try_for_each(|record| record.forget(begin))?;
            checkpoints.layers.push(begin..end);
        }
        checkpoints.begin = matches!(stage, Stage::Embedding(_) | Stage::Layer(..)).then_some(end);
        Ok(())
    }

    /// Computes the layer again whose last record is the last that is left, if it is one whose values are gone.
    pub(super) fn compute_again(&mut self, inner: &B) -> Result<()> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        let ends_here = |layer: &mut Range<usize>| layer.end == self.records.len();
        let Some(layer) = checkpoints.layers.pop_if(ends_here) else { return Ok(()) };
        let (begin, end) = (layer.start, layer.end);
        if self.gradients[layer].iter().all(Option::is_none) {
            return Ok(());
        }
        let mut made = Vec::with_capacity(end - begin);
        for (i, record) in self.records[begin..].iter_mut().enumerate() {
            record.restore(begin, &made);
            // Nothing in the layer reads its result.
            if begin + i + 1 == end && !record.keeps() {
                break;
            }
            made.push(record.compute(inner)?);
        }
        Ok(())
    }
}

impl<B: TrainBackend> Operand<B> {
    /// The place of what a layer that begins at `begin` made itself.
    fn inside(&self, begin: usize) -> Option<usize> {
        self.node.and_then(|Node { index, .. }| index.checked_sub(begin))
    }
}

impl<B: TrainBackend> Record<B> {
    /// What was read by a record that can be computed again.
    fn operands(&mut self) -> Result<Vec<&mut Operand<B>>> {
        match self {
            Self::Linear { x, residual, .. } => Ok([x].into_iter().chain(residual).collect()),
            Self::Norm { x, .. } | Self::Dropout { x, .. } => Ok(vec![x]),
            Self::Attend { qkv: x, .. } | Self::CrossAttend { q: x, .. } => Ok(vec![x]),
            Self::Columns(parts) => Ok(parts.iter_mut().map(|part| &mut part.x).collect()),
            Self::Windows(of) => Ok(vec![&mut of.x]),
            _ => Err(Error::Unsupported {
                what: "gradient checkpointing of a layer that is no transformer's".into(),
                hint: "train it without checkpointing".into(),
            }),
        }
    }

    /// Lets go of what a layer that begins at `begin` made itself.
    fn forget(&mut self, begin: usize) -> Result<()> {
        for operand in self.operands()? {
            if operand.inside(begin).is_some() {
                operand.value = None;
            }
        }
        match self {
            Self::Linear { sums, .. } => *sums = None,
            Self::Attend { kept, .. } | Self::CrossAttend { kept, .. } => *kept = None,
            _ => {}
        }
        Ok(())
    }

    /// Takes back what was read, of what the layer has `made` again.
    fn restore(&mut self, begin: usize, made: &[Arc<B::Tensor>]) {
        let Ok(operands) = self.operands() else { return };
        for operand in operands {
            if let Some(index) = operand.inside(begin) {
                operand.value = made.get(index).cloned();
            }
        }
    }

    /// Whether the way back reads more than what was read.
    fn keeps(&self) -> bool {
        match self {
            Self::Linear { layer, activation, .. } => layer.gated || activation.is_some(),
            Self::Attend { .. } | Self::CrossAttend { .. } => true,
            _ => false,
        }
    }

    /// Computes it again, and keeps what the way back reads.
    fn compute(&mut self, inner: &B) -> Result<Arc<B::Tensor>> {
        match self {
            Self::Linear { layer, x, sums, activation, dropout, residual } => {
                let residual = residual.as_ref().map(Operand::value).transpose()?;
                let (activation, dropout) = (*activation, *dropout);
                let epilogue = TrainEpilogue { activation, dropout, residual };
                let layer = read(&layer.layer);
                let (y, again) = inner.linear_forward(x.value()?, &layer, &epilogue, true)?;
                *sums = again;
                Ok(Arc::new(y))
            }
            Self::Norm { norm, x } => Ok(Arc::new(inner.norm(x.value()?, &read(&norm.norm))?)),
            Self::Dropout { x, dropout } => {
                Ok(Arc::new(inner.apply_dropout(x.value()?, *dropout)?))
            }
            Self::Columns(parts) => {
                let mut read = Vec::with_capacity(parts.len());
                for ColumnsPart { x, columns, .. } in parts.iter() {
                    read.push(Part { tensor: x.value()?, columns: columns.clone() });
                }
                Ok(Arc::new(inner.columns(&read)?))
            }
            Self::Windows(of) => {
                Ok(Arc::new(inner.windows(of.x.value()?, &of.grids, &of.windows)?))
            }
            Self::Attend { qkv, kept, attention, bias, dropout } => {
                let Attention { spec, rows } = attention;
                let bias = bias.as_ref().map(|b| read(&b.bias));
                let (y, log_sums) =
                    inner.attend_forward(qkv.value()?, rows, spec, bias.as_deref(), *dropout)?;
                Ok(kept.insert(Kept { y: Arc::new(y), log_sums }).y.clone())
            }
            Self::CrossAttend { q, kept, attention, memory, sources, dropout } => {
                let (Attention { spec, rows }, memory) = (attention, &memory.memory);
                let (y, log_sums) = inner.cross_attend_forward(
                    q.value()?,
                    rows,
                    memory,
                    sources,
                    spec,
                    *dropout,
                )?;
                Ok(kept.insert(Kept { y: Arc::new(y), log_sums }).y.clone())
            }
            _ => Err(forgotten()),
        }
    }
}
