//! LayerNorm and RMSNorm.

use crate::memory::{Buffer, Readers, Tensor};
use crate::{Cuda, kernels};
use seq2seq_core::{NormKind, NormSpec, Result, Rows, backend::check};
use std::sync::Arc;

/// The weights of a normalisation, `[M]` each, in the device's memory.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{Backend, HostTensor, NormKind, NormSpec};
/// use seq2seq_cuda::Norm;
///
/// let weight = HostTensor::from_f32(vec![2], &[1.0, 10.0])?;
/// let spec = NormSpec { kind: NormKind::Rms, eps: 0.0, weight, bias: None };
/// let norm: Norm = cuda.norm_weights(&spec)?;
/// let x = cuda.upload(&HostTensor::from_f32(vec![2, 2], &[1.0, 7.0, -3.0, 3.0])?)?;
/// let y = cuda.download(&cuda.norm(&x, &norm)?)?;
/// let expected = [0.2, 14.0, -1.0, 10.0]; // the root of the mean square is 5, and 3
/// assert!(y.iter().zip(expected).all(|(y, expected)| (y - expected).abs() < 1e-5));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct Norm {
    pub(crate) kind: NormKind,
    pub(crate) eps: f32,
    pub(crate) weight: Buffer<f32>,
    pub(crate) bias: Option<Buffer<f32>>,
    pub(crate) readers: Arc<Readers>,
}

pub(crate) fn norm_weights(cuda: &Cuda, spec: &NormSpec) -> Result<Norm> {
    check::norm_weights(spec)?;
    let weight = cuda.upload_values(&spec.weight.to_f32())?;
    let bias = spec.bias.as_ref().map(|b| cuda.upload_values(&b.to_f32())).transpose()?;
    Ok(Norm { kind: spec.kind, eps: spec.eps, weight, bias, readers: Arc::default() })
}

/// Where a linear layer has laid out what this norm gave before, rows are laid out as they are normalised.
pub(crate) fn norm(cuda: &Cuda, x: &Tensor, norm: &Norm) -> Result<Tensor> {
    check::norm(x, norm.weight.len())?;
    let mut y = cuda.tensor(x.rows(), x.width())?;
    let operand = match norm.readers.wanted() {
        Some(operands) => kernels::norm_rows::norm_rows(cuda, x, norm, operands, &mut y)?,
        None => None,
    };
    if operand.is_none() {
        kernels::norm::norm(cuda, x, norm, &mut y)?;
    }
    Ok(y.for_readers(&norm.readers, operand))
}
