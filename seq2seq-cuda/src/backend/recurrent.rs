//! [`RecurrentOps`].

use crate::ops::{additive, columns, recurrent};
use crate::{Additive, AdditiveMemory, Cuda, Recurrent, Tensor};
use seq2seq_core::{Format, HostTensor, Part, Ragged, RecurrentOps, RecurrentSpec, Result};

impl RecurrentOps for Cuda {
    type Recurrent = Recurrent;
    type Additive = Additive;
    type AdditiveMemory = AdditiveMemory;

    fn recurrent(&self, spec: &RecurrentSpec, format: Format) -> Result<Recurrent> {
        recurrent::pack(self, spec, format)
    }

    fn recur(
        &self,
        x: &Tensor,
        rows: &Ragged,
        layer: &Recurrent,
        state: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        recurrent::recur(self, x, rows, layer, state)
    }

    fn columns(&self, parts: &[Part<'_, Tensor>]) -> Result<Tensor> {
        columns::columns(self, parts)
    }

    fn stack_rows(&self, parts: &[&Tensor]) -> Result<Tensor> {
        columns::stack_rows(self, parts)
    }

    fn additive(&self, v: &HostTensor) -> Result<Additive> {
        additive::additive(self, v)
    }

    fn additive_memory(
        &self,
        keys: &Tensor,
        values: &Tensor,
        rows: &Ragged,
    ) -> Result<AdditiveMemory> {
        additive::memory(self, keys, values, rows)
    }

    fn additive_attend(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Additive,
        memory: &AdditiveMemory,
        sources: &[usize],
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor> {
        additive::attend(self, q, (rows, sources), v, memory, weights)
    }
}
