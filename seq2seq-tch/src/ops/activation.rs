//! The functions between the projections of a feed-forward block.

use crate::fault::Result;
use seq2seq_core::Activation;

/// `activation` of each element.
pub(crate) fn apply(activation: Activation, x: &tch::Tensor) -> Result<tch::Tensor> {
    let y = match activation {
        Activation::Relu => return Ok(x.f_relu()?),
        Activation::Tanh => return Ok(x.f_tanh()?),
        Activation::Gelu => gelu(x, "none")?,
        Activation::GeluTanh => gelu(x, "tanh")?,
        Activation::QuickGelu => x.f_mul(&x.f_mul_scalar(1.702)?.f_sigmoid()?)?,
        Activation::Silu => x.f_mul(&x.f_sigmoid()?)?,
    };
    // Minus infinity times a vanished factor is 0, the limit.
    Ok(y.f_masked_fill(&x.f_eq(f64::NEG_INFINITY)?, 0.0)?)
}

/// GELU, whose factor is 1 from 20 on even in f64. oneDNN, to which libtorch hands it on some processors, works out x (1 + erf)
/// first, which is infinite from half of the largest number on, and makes NaN of infinity.
fn gelu(x: &tch::Tensor, approximate: &str) -> Result<tch::Tensor> {
    Ok(x.f_where_self(&x.f_gt(20.0)?, &x.f_gelu(approximate)?)?)
}
