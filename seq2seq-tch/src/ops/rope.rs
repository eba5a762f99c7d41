//! Rotary position embedding, split halves.

use crate::Tch;
use crate::fault::Result;
use crate::tensor::from_slice;
use seq2seq_core::Rotary;
use std::ops::Range;
use tch::{Kind, Tensor};

/// Rotates heads `[T, heads, D]` at `positions`; what comes out is rounded to f32, as a cache stores it.
pub(crate) fn rotate(
    tch: &Tch,
    rotary: &Rotary,
    positions: Range<usize>,
    x: &Tensor,
) -> Result<Tensor> {
    let half = rotary.inv_freq.len();
    // An angle is a product of f32.
    let angles: Vec<f32> =
        positions.clone().flat_map(|p| rotary.inv_freq.iter().map(move |f| p as f32 * f)).collect();
    let angles = from_slice(&angles, &[positions.len(), 1, half], tch.device())?;
    let angles = angles.f_to_kind(tch.kind())?;
    let scale = f64::from(rotary.scale);
    let (cos, sin) = (angles.f_cos()?.f_mul_scalar(scale)?, angles.f_sin()?.f_mul_scalar(scale)?);
    let half = half as i64;
    let (a, b) = (x.f_narrow(2, 0, half)?, x.f_narrow(2, half, half)?);
    let rest = x.f_narrow(2, 2 * half, x.size()[2] - 2 * half)?;
    let first = a.f_mul(&cos)?.f_sub(&b.f_mul(&sin)?)?;
    let second = b.f_mul(&cos)?.f_add(&a.f_mul(&sin)?)?;
    let rotated = Tensor::f_cat(&[first, second, rest], 2)?;
    Ok(rotated.f_to_kind(Kind::Float)?.f_to_kind(tch.kind())?)
}
