//! What a pass is noted as.

use super::super::layers::{Attention, BiasShared, LinearShared, MemoryShared, NormShared};
use super::super::parameters::Id;
use super::recurrent::{Attended, ColumnsPart, Recurrence};
use super::{Node, Tensor};
use crate::train::{Dropout, TrainBackend};
use crate::{Activation, Error, Grid, Pool, Ragged, Result, Windows};
use std::sync::Arc;

/// What an operation read.
pub(in super::super) struct Operand<B: TrainBackend> {
    /// `None` where the way back does without it, and in a layer that is to be computed again.
    pub(super) value: Option<Arc<B::Tensor>>,
    /// `None` for what depends on no parameter.
    pub(super) node: Option<Node>,
}

impl<B: TrainBackend> Operand<B> {
    pub(super) fn of(x: &Tensor<B>) -> Self {
        Self { value: Some(x.value.clone()), node: x.node }
    }

    /// Where it came from, alone.
    pub(super) fn place(x: &Tensor<B>) -> Self {
        Self { value: None, node: x.node }
    }

    pub(super) fn value(&self) -> Result<&B::Tensor> {
        self.value.as_deref().ok_or_else(forgotten)
    }
}

/// What an attention keeps.
pub(in super::super) struct Kept<B: TrainBackend> {
    pub(in super::super) y: Arc<B::Tensor>,
    pub(in super::super) log_sums: B::Tensor,
}

/// Layers are computed again before their records are walked back.
pub(super) fn forgotten() -> Error {
    Error::invalid("autodiff", "a layer that was not computed again")
}

/// An operation and what its backward needs.
pub(in super::super) enum Record<B: TrainBackend> {
    Linear {
        layer: Arc<LinearShared<B>>,
        x: Operand<B>,
        sums: Option<B::Tensor>,
        activation: Option<Activation>,
        dropout: Option<Dropout>,
        residual: Option<Operand<B>>,
    },
    Embed(Vec<Lookup>),
    Norm {
        norm: Arc<NormShared<B>>,
        x: Operand<B>,
    },
    GatherRows {
        x: Node,
        rows: Vec<usize>,
        count: usize,
    },
    Pool {
        x: Node,
        rows: Ragged,
        pool: Pool,
    },
    Dropout {
        x: Operand<B>,
        dropout: Dropout,
    },
    Attend {
        qkv: Operand<B>,
        kept: Option<Kept<B>>,
        attention: Attention,
        bias: Option<Arc<BiasShared<B>>>,
        dropout: Option<Dropout>,
    },
    CrossAttend {
        q: Operand<B>,
        kept: Option<Kept<B>>,
        attention: Attention,
        memory: Arc<MemoryShared<B>>,
        sources: Vec<usize>,
        dropout: Option<Dropout>,
    },
    Recur(Recurrence<B>),
    /// What the sequences of the recurrence at that place end with.
    RecurEnd(usize),
    Columns(Vec<ColumnsPart<B>>),
    /// The rows of each part.
    StackRows(Vec<(Option<Node>, usize)>),
    AdditiveAttend(Attended<B>),
    Windows(WindowsOf<B>),
    /// A draw of posteriors, and how each element changes with the logarithm of its variance.
    Draw {
        posteriors: Node,
        slopes: Vec<f32>,
    },
}

/// What was seen of grids.
pub(in super::super) struct WindowsOf<B: TrainBackend> {
    pub(in super::super) x: Operand<B>,
    pub(in super::super) grids: Vec<Grid>,
    pub(in super::super) windows: Windows,
    pub(in super::super) channels: usize,
}

/// Rows that were looked up in a parameter.
pub(in super::super) struct Lookup {
    pub(in super::super) table: Id,
    pub(in super::super) ids: Vec<u32>,
    pub(in super::super) scale: f32,
}
