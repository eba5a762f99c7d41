//! Uploading, downloading, and looking up rows of tables.

use crate::kernels::embed::Source;
use crate::memory::{Buffer, Tensor};
use crate::{Cuda, kernels};
use seq2seq_core::{DType, HostTensor, Lookup, Result, backend::check};

/// A table in the device's memory, in the type it came in.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{Backend, HostTensor, Lookup};
/// use seq2seq_cuda::Embedding;
///
/// let table = |values: &[f32]| cuda.embedding(&HostTensor::from_f32(vec![3, 2], values)?);
/// let tokens: Embedding = table(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// let positions: Embedding = table(&[0.25, 0.0, 0.5, 0.0, 0.75, 0.0])?;
/// let ids = Lookup { table: &tokens, ids: &[2, 0], scale: 10.0 };
/// let places = Lookup { table: &positions, ids: &[0, 1], scale: 1.0 };
/// assert_eq!(cuda.download(&cuda.embed(&[ids, places])?)?, [50.25, 60.0, 10.5, 20.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct Embedding {
    values: Buffer<u8>,
    dtype: DType,
    shape: [usize; 2],
}

pub(crate) fn embedding(cuda: &Cuda, table: &HostTensor) -> Result<Embedding> {
    let shape = check::embedding(table)?;
    let values = cuda.upload_values(table.bytes())?;
    Ok(Embedding { values, dtype: table.dtype(), shape })
}

pub(crate) fn embed(cuda: &Cuda, lookups: &[Lookup<'_, Embedding>]) -> Result<Tensor> {
    let [rows, width] = check::embed(lookups, |table| table.shape)?;
    let mut y = cuda.tensor(rows, width)?;
    let sources = lookups.iter().map(|l| Source {
        address: l.table.values.address(),
        dtype: l.table.dtype,
        scale: l.scale,
        ids: l.ids,
    });
    let sources: Vec<_> = sources.collect();
    kernels::embed::embed(cuda, &sources, &mut y)?;
    Ok(y)
}

pub(crate) fn upload(cuda: &Cuda, host: &HostTensor) -> Result<Tensor> {
    let [rows, width] = check::upload(host)?;
    Ok(Tensor::upload(cuda.pool(), rows, width, &host.to_f32())?)
}

pub(crate) fn download(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.values().download()?)
}
