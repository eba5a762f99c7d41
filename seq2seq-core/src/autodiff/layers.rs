//! What is packed from masters.

use super::lora::{Beside, Dropped, wide_weights};
use super::parameters::{Id, Packed, Parameters};
use super::tape::Tensor;
use crate::train::{MasterPart, Masters, RecurrentMasters, TrainBackend};
use crate::{AttentionSpec, Cell, Format, Ragged, Result};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

/// A linear layer and the parameters that it is packed from.
pub struct Linear<B: TrainBackend> {
    pub(super) shared: Arc<LinearShared<B>>,
}

pub(super) struct LinearShared<B: TrainBackend> {
    pub(super) layer: RwLock<B::TrainLinear>,
    pub(super) parts: Vec<PartIds>,
    pub(super) gated: bool,
    pub(super) scale: f32,
    format: Format,
    /// What it computes by where dropout is within its adapters.
    pub(super) dropped: Mutex<Option<Arc<Dropped<B>>>>,
}

impl<B: TrainBackend> LinearShared<B> {
    /// Packs the parts.
    pub(super) fn pack(
        inner: &B,
        parameters: &Parameters<B>,
        parts: Vec<PartIds>,
        (gated, scale, format): (bool, f32, Format),
    ) -> Result<Self> {
        let wide = wide_weights(inner, parameters, &parts)?;
        let masters = Masters { parts: master_parts(parameters, &parts, &wide), gated, scale };
        let layer = RwLock::new(inner.pack_masters(&masters, format)?);
        Ok(Self { layer, parts, gated, scale, format, dropped: Mutex::new(None) })
    }

    /// How it was packed.
    pub(super) fn packing(&self) -> (bool, f32, Format) {
        (self.gated, self.scale, self.format)
    }
}

/// The parameters of a part.
#[derive(Clone, Copy)]
pub(super) struct PartIds {
    pub(super) weight: Id,
    pub(super) bias: Option<Id>,
    pub(super) transposed: bool,
    /// What stands beside the weight.
    pub(super) beside: Option<Beside>,
}

impl PartIds {
    pub(super) fn trained<B: TrainBackend>(&self, parameters: &Parameters<B>) -> bool {
        parameters.weight_trained(self.weight) || self.bias.is_some_and(|id| parameters.trained(id))
    }

    /// Whether it must be packed again.
    fn stale<B: TrainBackend>(&self, parameters: &Parameters<B>) -> bool {
        parameters.weight_stale(self.weight) || self.bias.is_some_and(|id| parameters.stale(id))
    }
}

/// The masters of the recurrent half of a layer.
pub(super) fn recurrent_masters<'a, B: TrainBackend>(
    parameters: &'a Parameters<B>,
    parts: &[PartIds],
    cell: Cell,
) -> RecurrentMasters<'a, B::Tensor> {
    RecurrentMasters { cell, directions: master_parts(parameters, parts, &[]) }
}

fn master_parts<'a, B: TrainBackend>(
    parameters: &'a Parameters<B>,
    parts: &[PartIds],
    wide: &'a [Option<B::Tensor>],
) -> Vec<MasterPart<'a, B::Tensor>> {
    let part = |(i, p): (usize, &PartIds)| MasterPart {
        weight: wide.get(i).and_then(Option::as_ref).unwrap_or_else(|| parameters.weight(p.weight)),
        bias: p.bias.map(|id| parameters.value(id)),
        transposed: p.transposed,
    };
    parts.iter().enumerate().map(part).collect()
}

/// What is packed, to be read. Nobody panics while writing it, but for a bug below, whose message comes first.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

impl<B: TrainBackend> Packed<B> for LinearShared<B> {
    fn refresh(&self, inner: &B, parameters: &Parameters<B>) -> Result<()> {
        if !self.parts.iter().any(|part| part.stale(parameters)) {
            return Ok(());
        }
        let wide = wide_weights(inner, parameters, &self.parts)?;
        let parts = master_parts(parameters, &self.parts, &wide);
        let masters = Masters { parts, gated: self.gated, scale: self.scale };
        inner.repack(&mut self.layer.write().unwrap_or_else(PoisonError::into_inner), &masters)
    }
}

/// The recurrent half of a layer and the parameters that it is packed from.
pub struct Recurrent<B: TrainBackend> {
    pub(super) shared: Arc<RecurrentShared<B>>,
}

pub(super) struct RecurrentShared<B: TrainBackend> {
    pub(super) layer: RwLock<B::TrainRecurrent>,
    /// Of each direction.
    pub(super) parts: Vec<PartIds>,
    pub(super) cell: Cell,
}

impl<B: TrainBackend> Packed<B> for RecurrentShared<B> {
    fn refresh(&self, inner: &B, parameters: &Parameters<B>) -> Result<()> {
        if !self.parts.iter().any(|part| part.stale(parameters)) {
            return Ok(());
        }
        let masters = recurrent_masters(parameters, &self.parts, self.cell);
        let mut layer = self.layer.write().unwrap_or_else(PoisonError::into_inner);
        inner.repack_recurrent(&mut layer, &masters)
    }
}

/// The vector of additive scores and its parameter.
pub struct Additive<B: TrainBackend> {
    pub(super) shared: Arc<AdditiveShared<B>>,
}

pub(super) struct AdditiveShared<B: TrainBackend> {
    pub(super) held: RwLock<B::Additive>,
    pub(super) v: Id,
}

impl<B: TrainBackend> Packed<B> for AdditiveShared<B> {
    fn refresh(&self, inner: &B, parameters: &Parameters<B>) -> Result<()> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        inner.renew_additive(&mut held, parameters.value(self.v))
    }
}

/// The weights of a normalisation and their parameters.
pub struct Norm<B: TrainBackend> {
    pub(super) shared: Arc<NormShared<B>>,
}

pub(super) struct NormShared<B: TrainBackend> {
    pub(super) norm: RwLock<B::Norm>,
    pub(super) weight: Id,
    pub(super) bias: Option<Id>,
}

impl<B: TrainBackend> Packed<B> for NormShared<B> {
    fn refresh(&self, inner: &B, parameters: &Parameters<B>) -> Result<()> {
        let mut norm = self.norm.write().unwrap_or_else(PoisonError::into_inner);
        let bias = self.bias.map(|id| parameters.value(id));
        inner.renew_norm(&mut norm, parameters.value(self.weight), bias)
    }
}

/// A table that rows are looked up in: the master itself.
#[derive(Debug, Clone, Copy)]
pub struct Embedding {
    pub(super) table: Id,
}

/// A relative bias and its parameter.
pub struct RelativeBias<B: TrainBackend> {
    pub(super) shared: Arc<BiasShared<B>>,
}

pub(super) struct BiasShared<B: TrainBackend> {
    pub(super) bias: RwLock<B::RelativeBias>,
    pub(super) table: Id,
}

impl<B: TrainBackend> Packed<B> for BiasShared<B> {
    fn refresh(&self, inner: &B, parameters: &Parameters<B>) -> Result<()> {
        let mut bias = self.bias.write().unwrap_or_else(PoisonError::into_inner);
        inner.renew_relative_bias(&mut bias, parameters.value(self.table))
    }
}

/// Keys and values of an encoder's output, and what they were made from.
pub struct Memory<B: TrainBackend> {
    pub(super) shared: Arc<MemoryShared<B>>,
}

pub(super) struct MemoryShared<B: TrainBackend> {
    pub(super) memory: B::Memory,
    pub(super) kv: Tensor<B>,
    pub(super) rows: Ragged,
}

/// Keys and values of additive attention, and what they were made from.
pub struct AdditiveMemory<B: TrainBackend> {
    pub(super) shared: Arc<AdditiveMemoryShared<B>>,
}

pub(super) struct AdditiveMemoryShared<B: TrainBackend> {
    pub(super) memory: B::AdditiveMemory,
    pub(super) keys: Tensor<B>,
    pub(super) values: Tensor<B>,
}

/// An attention as a record keeps it.
#[derive(Clone)]
pub(super) struct Attention {
    pub(super) spec: AttentionSpec,
    pub(super) rows: Ragged,
}
