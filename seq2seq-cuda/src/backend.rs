//! The traits of `seq2seq-core`, each method one function of `ops`.

mod attention;
mod convolution;
mod recurrent;
mod train;

use crate::driver::MemoryInfo;
use crate::ops::{embed, linear, norm, pool};
use crate::{Cuda, Embedding, Linear, Norm, Tensor};
use seq2seq_core::{
    Backend, DeviceMemory, Epilogue, Error, Format, HostTensor, LinearSpec, Lookup, NormSpec, Pool,
    Ragged, Result,
};

impl Backend for Cuda {
    type Tensor = Tensor;
    type Linear = Linear;
    type Norm = Norm;
    type Embedding = Embedding;

    fn describe(&self) -> String {
        let (major, minor) = self.driver().capability();
        format!("cuda ({}, compute capability {major}.{minor})", self.driver().name())
    }

    fn device_memory(&self) -> Result<Option<DeviceMemory>> {
        let MemoryInfo { free, total } = self.driver().memory()?;
        Ok(Some(DeviceMemory { free, total }))
    }

    fn upload(&self, host: &HostTensor) -> Result<Tensor> {
        embed::upload(self, host)
    }

    fn download(&self, x: &Tensor) -> Result<Vec<f32>> {
        embed::download(x)
    }

    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<Linear> {
        linear::pack(self, spec, format)
    }

    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: Epilogue<'_, Tensor>) -> Result<Tensor> {
        linear::linear(self, x, layer, epilogue)
    }

    fn feed_forward(
        &self,
        x: &Tensor,
        layers: [&Linear; 2],
        epilogues: [Epilogue<'_, Tensor>; 2],
    ) -> Result<Tensor> {
        linear::feed_forward(self, x, layers, epilogues)
    }

    fn embedding(&self, table: &HostTensor) -> Result<Embedding> {
        embed::embedding(self, table)
    }

    fn embed(&self, lookups: &[Lookup<'_, Embedding>]) -> Result<Tensor> {
        embed::embed(self, lookups)
    }

    fn step<T, E: From<Error>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.pool().step(work)
    }

    fn norm_weights(&self, spec: &NormSpec) -> Result<Norm> {
        norm::norm_weights(self, spec)
    }

    fn norm(&self, x: &Tensor, norm: &Norm) -> Result<Tensor> {
        norm::norm(self, x, norm)
    }

    fn gather_rows(&self, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        pool::gather_rows(self, x, rows)
    }

    fn pool(&self, x: &Tensor, rows: &Ragged, pool: Pool) -> Result<Tensor> {
        pool::pool(self, x, rows, pool)
    }
}
