//! LayerNorm and RMSNorm of each run of columns.

use crate::fault::Result;
use crate::tensor::{Shared, from_host};
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::{NormKind, NormSpec, Rows};

/// The weights of a normalisation, `[M]` each.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, NormKind, NormSpec};
/// use seq2seq_tch::{Norm, Tch, TchOptions};
///
/// let tch = Tch::new(TchOptions::default())?;
/// let weight = HostTensor::from_f32(vec![2], &[1.0, 10.0])?;
/// let spec = NormSpec { kind: NormKind::Rms, eps: 0.0, weight, bias: None };
/// let norm: Norm = tch.norm_weights(&spec)?;
/// let x = tch.upload(&HostTensor::from_f32(vec![2, 2], &[1.0, 7.0, -3.0, 3.0])?)?;
/// let y = tch.download(&tch.norm(&x, &norm)?)?;
/// let expected = [0.2, 14.0, -1.0, 10.0]; // the root of the mean square is 5, and 3
/// assert!(y.iter().zip(expected).all(|(y, expected)| (y - expected).abs() < 1e-5));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Norm {
    pub(crate) kind: NormKind,
    pub(crate) eps: f64,
    /// `[M]`
    pub(crate) weight: Shared,
    /// `[M]`
    pub(crate) bias: Option<Shared>,
}

impl Norm {
    pub(crate) fn new(tch: &Tch, spec: &NormSpec) -> Result<Self> {
        check::norm_weights(spec)?;
        let bias = spec.bias.as_ref().map(|b| from_host(b, tch.device())).transpose()?;
        Ok(Self {
            kind: spec.kind,
            eps: spec.eps.into(),
            weight: Shared::new(from_host(&spec.weight, tch.device())?),
            bias: bias.map(Shared::new),
        })
    }

    /// M
    pub(crate) fn width(&self) -> usize {
        self.weight.numel()
    }
}

/// Rows normalised, all in one type.
pub(crate) fn apply(
    (kind, eps): (NormKind, f64),
    x: &tch::Tensor,
    weight: &tch::Tensor,
    bias: Option<&tch::Tensor>,
) -> Result<tch::Tensor> {
    let width = x.size()[1];
    match kind {
        NormKind::Layer => Ok(x.f_layer_norm([width], Some(weight), bias, eps, true)?),
        NormKind::Rms => {
            let mean = x.f_square()?.f_mean_dim([1i64].as_slice(), true, None)?;
            Ok(x.f_div(&mean.f_add_scalar(eps)?.f_sqrt()?)?.f_mul(weight)?)
        }
    }
}

pub(crate) fn norm(tch: &Tch, x: &Tensor, norm: &Norm) -> Result<Tensor> {
    check::norm(x, norm.width())?;
    let weight = norm.weight.f_to_kind(tch.kind())?;
    let bias = norm.bias.as_ref().map(|b| b.f_to_kind(tch.kind())).transpose()?;
    let runs = tch.wide(x)?.f_reshape([-1, norm.width() as i64])?;
    let y = apply((norm.kind, norm.eps), &runs, &weight, bias.as_ref())?;
    Tensor::new(x.rows(), x.width(), y)
}
