//! The functions between the projections of a feed-forward block.

use crate::fault::Result;
use seq2seq_core::Activation;

/// `activation` of each element.
pub(crate) fn apply(activation: Activation, x: &tch::Tensor) -> Result<tch::Tensor> {
    let y = match activation {
        Activation::Relu => return Ok(x.f_relu()?),
        Activation::Tanh => return Ok(x.f_tanh()?),
        Activation::Gelu => x.f_gelu("none")?,
        Activation::GeluTanh => x.f_gelu("tanh")?,
        Activation::QuickGelu => x.f_mul(&x.f_mul_scalar(1.702)?.f_sigmoid()?)?,
        Activation::Silu => x.f_mul(&x.f_sigmoid()?)?,
    };
    // Minus infinity times a vanished factor is 0, the limit.
    Ok(y.f_masked_fill(&x.f_eq(f64::NEG_INFINITY)?, 0.0)?)
}
