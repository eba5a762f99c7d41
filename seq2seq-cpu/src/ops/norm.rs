//! LayerNorm and RMSNorm.

use crate::kernels::norm::{Norm, Row};
use crate::memory::{Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::{NormKind, NormSpec, Result, Rows, backend::check};

pub(crate) fn norm_weights(spec: &NormSpec) -> Result<Norm> {
    let width = check::norm_weights(spec)?;
    let bias = match (&spec.bias, spec.kind) {
        (Some(bias), _) => bias.to_f32(),
        (None, NormKind::Layer) => vec![0.0; width],
        (None, NormKind::Rms) => Vec::new(),
    };
    Ok(Norm { kind: spec.kind, eps: spec.eps, weight: spec.weight.to_f32(), bias })
}

pub(crate) fn norm(cpu: &Cpu, x: &Tensor, norm: &Norm) -> Result<Tensor> {
    check::norm(x, norm.weight.len())?;
    let mut out = Tensor::scratch(x.rows(), x.width());
    cpu.threads().each_part(Chunks::<f32>::rows(&mut out), 2 * x.width(), |i, y| {
        dispatch(cpu.isa(), Row { norm, x: x.row(i), y });
    });
    Ok(out)
}
