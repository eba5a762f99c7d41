//! Uploading, downloading, and looking up rows of tables.

use super::choose::Chosen;
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

impl Embedding {
    fn source(&self, scale: f32) -> Source {
        Source { address: self.values.address(), dtype: self.dtype, scale }
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
    let sources: Vec<_> = lookups.iter().map(|l| l.table.source(l.scale)).collect();
    kernels::embed::embed(cuda, &sources, (None, &ids_of(lookups)), &mut y)?;
    Ok(y)
}

pub(crate) fn embed_chosen(
    cuda: &Cuda,
    (table, scale): (&Embedding, f32),
    chosen: &Chosen,
    others: &[Lookup<'_, Embedding>],
) -> Result<Tensor> {
    let [rows, width] = check::embed_chosen(table.shape, chosen.shape(), others, |t| t.shape)?;
    let mut y = cuda.tensor(rows, width)?;
    let others_of = others.iter().map(|l| l.table.source(l.scale));
    let sources: Vec<_> = std::iter::once(table.source(scale)).chain(others_of).collect();
    kernels::embed::embed(cuda, &sources, (Some(chosen.picked()), &ids_of(others)), &mut y)?;
    Ok(y)
}

/// The ids of all lookups, one after the other.
pub(super) fn ids_of<E>(lookups: &[Lookup<'_, E>]) -> Vec<u32> {
    lookups.iter().flat_map(|l| l.ids).copied().collect()
}

pub(crate) fn upload(cuda: &Cuda, host: &HostTensor) -> Result<Tensor> {
    let [rows, width] = check::upload(host)?;
    Ok(Tensor::upload(cuda.pool(), rows, width, &host.to_f32())?)
}

pub(crate) fn download(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.values().download()?)
}
