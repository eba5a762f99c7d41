//! Recurrent layers serve, and have no gradients yet: each operation fails while a pass is recorded.

use super::Autodiff;
use super::tape::Tensor;
use crate::train::TrainBackend;
use crate::{Format, HostTensor, Part, Ragged, RecurrentOps, RecurrentSpec, Result};

impl<B: TrainBackend> RecurrentOps for Autodiff<B> {
    type Recurrent = B::Recurrent;
    type Additive = B::Additive;
    type AdditiveMemory = B::AdditiveMemory;

    fn recurrent(&self, spec: &RecurrentSpec, format: Format) -> Result<B::Recurrent> {
        self.only_serves("recurrent")?;
        self.inner.recurrent(spec, format)
    }

    fn recur(
        &self,
        x: &Tensor<B>,
        rows: &Ragged,
        layer: &B::Recurrent,
        state: Option<&Tensor<B>>,
    ) -> Result<(Tensor<B>, Tensor<B>)> {
        self.only_serves("recur")?;
        let state = state.map(Tensor::value);
        let (y, state) = self.inner.recur(x.value(), rows, layer, state)?;
        Ok((Tensor::constant(y), Tensor::constant(state)))
    }

    fn columns(&self, parts: &[Part<'_, Tensor<B>>]) -> Result<Tensor<B>> {
        self.only_serves("columns")?;
        let below = parts
            .iter()
            .map(|part| Part { tensor: part.tensor.value(), columns: part.columns.clone() });
        self.inner.columns(&below.collect::<Vec<_>>()).map(Tensor::constant)
    }

    fn stack_rows(&self, parts: &[&Tensor<B>]) -> Result<Tensor<B>> {
        self.only_serves("stack_rows")?;
        let parts: Vec<_> = parts.iter().map(|part| part.value()).collect();
        self.inner.stack_rows(&parts).map(Tensor::constant)
    }

    fn additive(&self, v: &HostTensor) -> Result<B::Additive> {
        self.only_serves("additive")?;
        self.inner.additive(v)
    }

    fn additive_memory(
        &self,
        keys: &Tensor<B>,
        values: &Tensor<B>,
        rows: &Ragged,
    ) -> Result<B::AdditiveMemory> {
        self.only_serves("additive_memory")?;
        self.inner.additive_memory(keys.value(), values.value(), rows)
    }

    fn additive_attend(
        &self,
        q: &Tensor<B>,
        rows: &Ragged,
        v: &B::Additive,
        memory: &B::AdditiveMemory,
        sources: &[usize],
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor<B>> {
        self.only_serves("additive_attend")?;
        self.inner
            .additive_attend(q.value(), rows, v, memory, sources, weights)
            .map(Tensor::constant)
    }
}
