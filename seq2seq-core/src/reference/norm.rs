//! LayerNorm and RMSNorm of each run of columns.

use super::Tensor;
use crate::backend::check;
use crate::{NormKind, NormSpec, Result, Rows};

/// The weights of a normalisation.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, NormKind, NormSpec, reference::{Reference, norm::Norm}};
///
/// let weight = HostTensor::from_f32(vec![2], &[1.0, 0.5])?;
/// let norm: Norm = Reference.norm_weights(&NormSpec { kind: NormKind::Rms, eps: 0.0, weight, bias: None })?;
/// let x = Reference.upload(&HostTensor::from_f32(vec![1, 2], &[2.0, -2.0])?)?;
/// assert_eq!(Reference.download(&Reference.norm(&x, &norm)?)?, [1.0, -0.5]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Norm {
    kind: NormKind,
    eps: f32,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Norm {
    pub(super) fn new(spec: &NormSpec) -> Result<Self> {
        check::norm_weights(spec)?;
        let bias = spec.bias.as_ref().map(|b| b.to_f32());
        Ok(Self { kind: spec.kind, eps: spec.eps, weight: spec.weight.to_f32(), bias })
    }

    /// Takes over other weights.
    pub(super) fn renew(&mut self, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        check::renew_norm(self.weight.len(), weight, (self.bias.is_some(), bias))?;
        self.weight.clone_from(&weight.values);
        self.bias = bias.map(|b| b.values.clone());
        Ok(())
    }

    /// Which, and its eps.
    pub(super) fn kind(&self) -> (NormKind, f32) {
        (self.kind, self.eps)
    }

    pub(super) fn weight(&self) -> &[f32] {
        &self.weight
    }

    fn run(&self, x: &[f32]) -> impl Iterator<Item = f32> {
        let m = x.len() as f64;
        let mean = match self.kind {
            NormKind::Layer => x.iter().map(|&v| f64::from(v)).sum::<f64>() / m,
            NormKind::Rms => 0.0,
        };
        let square = |v: &f32| (f64::from(*v) - mean).powi(2);
        let deviation = (x.iter().map(square).sum::<f64>() / m + f64::from(self.eps)).sqrt();
        x.iter().zip(&self.weight).enumerate().map(move |(i, (&v, &w))| {
            let bias = self.bias.as_ref().map_or(0.0, |b| b[i]);
            ((f64::from(v) - mean) / deviation * f64::from(w) + f64::from(bias)) as f32
        })
    }
}

pub(super) fn norm(x: &Tensor, norm: &Norm) -> Result<Tensor> {
    check::norm(x, norm.weight.len())?;
    let runs = x.iter().flat_map(|row| row.chunks(norm.weight.len()));
    let values = runs.flat_map(|run| norm.run(run)).collect();
    Ok(Tensor::new(x.rows(), x.width(), values))
}
