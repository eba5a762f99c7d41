//! LayerNorm and RMSNorm.

use crate::memory::{Buffer, Tensor};
use crate::{Cuda, kernels};
use seq2seq_core::{NormKind, NormSpec, Result, Rows, backend::check};

/// The weights of a normalisation in the device's memory.
pub struct Norm {
    pub(crate) kind: NormKind,
    pub(crate) eps: f32,
    pub(crate) weight: Buffer<f32>,
    pub(crate) bias: Option<Buffer<f32>>,
}

pub(crate) fn norm_weights(cuda: &Cuda, spec: &NormSpec) -> Result<Norm> {
    check::norm_weights(spec)?;
    let weight = cuda.upload_values(&spec.weight.to_f32())?;
    let bias = spec.bias.as_ref().map(|b| cuda.upload_values(&b.to_f32())).transpose()?;
    Ok(Norm { kind: spec.kind, eps: spec.eps, weight, bias })
}

pub(crate) fn norm(cuda: &Cuda, x: &Tensor, norm: &Norm) -> Result<Tensor> {
    check::norm(x, norm.weight.len())?;
    let mut y = cuda.tensor(x.rows(), x.width())?;
    kernels::norm::norm(cuda, x, norm, &mut y)?;
    Ok(y)
}
