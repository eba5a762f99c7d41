//! Steps of the optimisers.

use super::zeros;
use crate::Cuda;
use crate::kernels::elementwise::{combine, sum_of_squares};
use crate::kernels::optimiser::{self, Moment};
use crate::memory::{Buffer, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::{Adafactor, AdamW, Second, Sgd};
use seq2seq_core::{Result, Rows};

pub(crate) fn adamw(
    cuda: &Cuda,
    settings: &AdamW,
    parameter: &mut Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor; 2],
) -> Result<()> {
    check::adamw(parameter, gradient, moments)?;
    let [m, v] = moments.each_mut().map(Tensor::values_mut);
    let parameter = parameter.values_mut();
    Ok(optimiser::adamw(cuda, settings, gradient.values(), parameter, [m, v])?)
}

pub(crate) fn sgd(
    cuda: &Cuda,
    settings: &Sgd,
    parameter: &mut Tensor,
    gradient: &Tensor,
    velocity: &mut Option<Tensor>,
) -> Result<()> {
    check::sgd(parameter, gradient, velocity.as_ref())?;
    let first = velocity.is_none();
    if first {
        *velocity = Some(zeros(cuda, parameter.rows(), parameter.width())?);
    }
    let Some(held) = velocity else { return Ok(()) };
    let held = (held.values_mut(), first);
    Ok(optimiser::sgd(cuda, settings, gradient.values(), parameter.values_mut(), held)?)
}

/// The root of the mean square, having waited for it.
fn rms(cuda: &Cuda, x: &Buffer<f32>) -> Result<f64> {
    Ok((sum_of_squares(cuda, x)? / x.len().max(1) as f64).sqrt())
}

pub(crate) fn adafactor(
    cuda: &Cuda,
    settings: &Adafactor,
    parameter: &mut Tensor,
    gradient: &Tensor,
    second: &mut Second<Tensor>,
) -> Result<()> {
    check::adafactor(parameter, gradient, second)?;
    let mut update = cuda.buffer(gradient.values().len())?;
    let (scale, beta, eps) = (settings.gradient_scale, settings.beta(), settings.eps[0]);
    let moment = Moment { scale, beta, eps };
    match second {
        Second::Full(held) => {
            optimiser::full(cuda, gradient.values(), moment, held.values_mut(), &mut update)?;
        }
        Second::Factored(factors) => {
            let held = [factors.rows.values_mut(), factors.columns.values_mut()];
            optimiser::factored(cuda, gradient.values(), moment, held, &mut update)?;
        }
    }
    let clip = (rms(cuda, &update)? / f64::from(settings.clip)).max(1.0);
    let least = match settings.scale_parameter {
        true => rms(cuda, parameter.values())?.max(settings.eps[1].into()),
        false => 1.0,
    };
    let rate = f64::from(settings.rate) * least;
    let kept = 1.0 - rate * f64::from(settings.decay);
    step(cuda, parameter, kept, (&update, -rate / clip))
}

/// parameter = kept · parameter + rate · update
pub(super) fn step(
    cuda: &Cuda,
    parameter: &mut Tensor,
    kept: f64,
    (update, rate): (&Buffer<f32>, f64),
) -> Result<()> {
    let mut next = cuda.tensor(parameter.rows(), parameter.width())?;
    let before = (kept as f32, parameter.values());
    combine(cuda, before, Some((rate as f32, update)), next.values_mut())?;
    *parameter = next;
    Ok(())
}
