//! Uploading, downloading, and looking up rows of tables.

use crate::memory::{Buffer, Tensor};
use crate::{Cuda, kernels};
use seq2seq_core::{DType, HostTensor, Lookup, Result, backend::check};

/// A table in the device's memory, in the type it came in.
pub struct Embedding {
    values: Buffer<u8>,
    dtype: DType,
    shape: [usize; 2],
}

impl Embedding {
    pub(crate) fn values(&self) -> &Buffer<u8> {
        &self.values
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }
}

pub(crate) fn embedding(cuda: &Cuda, table: &HostTensor) -> Result<Embedding> {
    let shape = check::embedding(table)?;
    let values = cuda.upload_values(table.bytes())?;
    Ok(Embedding { values, dtype: table.dtype(), shape })
}

pub(crate) fn embed(cuda: &Cuda, lookups: &[Lookup<'_, Embedding>]) -> Result<Tensor> {
    let [rows, width] = check::embed(lookups, |table| table.shape)?;
    let mut y = cuda.tensor(rows, width)?;
    kernels::embed::embed(cuda, lookups, &mut y)?;
    Ok(y)
}

pub(crate) fn upload(cuda: &Cuda, host: &HostTensor) -> Result<Tensor> {
    let [rows, width] = check::upload(host)?;
    Ok(Tensor::upload(cuda.pool(), rows, width, &host.to_f32())?)
}

pub(crate) fn download(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.values().download()?)
}
