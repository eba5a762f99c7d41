//! Steps of optimisers.

use super::{rounded, zeros};
use crate::fault::Result;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::{Adafactor, AdamW, Factors, Muon, Second, Sgd};
use seq2seq_core::{Format, Rows};

/// Puts new values in the place of others of the same shape.
fn replace(held: &mut Tensor, values: tch::Tensor) -> Result<()> {
    *held = Tensor::new(held.rows(), held.width(), values)?;
    Ok(())
}

/// The gradient times its scale.
fn scaled(tch: &Tch, gradient: &Tensor, scale: f32) -> Result<tch::Tensor> {
    Ok(tch.wide(gradient)?.f_mul_scalar(f64::from(scale))?)
}

/// `held` becomes β held + (1 - β) new; gives it as it was rounded.
fn average(tch: &Tch, held: &mut Tensor, beta: f64, new: &tch::Tensor) -> Result<tch::Tensor> {
    let mean = tch.wide(held)?.f_mul_scalar(beta)?.f_add(&new.f_mul_scalar(1.0 - beta)?)?;
    replace(held, mean)?;
    tch.wide(held)
}

/// The root of the mean square.
fn rms(x: &tch::Tensor) -> Result<f64> {
    match x.numel() {
        0 => Ok(0.0),
        _ => Ok(f64::try_from(x.f_square()?.f_mean(None)?.f_sqrt()?)?),
    }
}

/// p (1 - rate · decay) - update
fn moved(tch: &Tch, parameter: &mut Tensor, kept: f64, update: &tch::Tensor) -> Result<()> {
    let values = tch.wide(parameter)?.f_mul_scalar(kept)?.f_sub(update)?;
    replace(parameter, values)
}

pub(crate) fn adamw(
    tch: &Tch,
    settings: &AdamW,
    parameter: &mut Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor; 2],
) -> Result<()> {
    check::adamw(parameter, gradient, moments)?;
    let ([beta1, beta2], step) = (settings.betas, settings.step as i32);
    let rate = f64::from(settings.rate);
    let g = scaled(tch, gradient, settings.gradient_scale)?;
    let [first, second] = moments;
    let m = average(tch, first, beta1, &g)?;
    let v = average(tch, second, beta2, &g.f_square()?)?;
    let root = v.f_sqrt()?.f_div_scalar((1.0 - beta2.powi(step)).sqrt())?;
    let update = m.f_div(&root.f_add_scalar(f64::from(settings.eps))?)?;
    let update = update.f_mul_scalar(rate / (1.0 - beta1.powi(step)))?;
    moved(tch, parameter, 1.0 - rate * f64::from(settings.decay), &update)
}

pub(crate) fn sgd(
    tch: &Tch,
    settings: &Sgd,
    parameter: &mut Tensor,
    gradient: &Tensor,
    velocity: &mut Option<Tensor>,
) -> Result<()> {
    check::sgd(parameter, gradient, velocity.as_ref())?;
    let decay = tch.wide(parameter)?.f_mul_scalar(f64::from(settings.decay))?;
    let mut g = scaled(tch, gradient, settings.gradient_scale)?.f_add(&decay)?;
    if let Some(velocity) = velocity {
        g = g.f_add(&tch.wide(velocity)?.f_mul_scalar(f64::from(settings.momentum))?)?;
    }
    let held = Tensor::new(parameter.rows(), parameter.width(), g)?;
    let update = tch.wide(&held)?.f_mul_scalar(f64::from(settings.rate))?;
    *velocity = Some(held);
    moved(tch, parameter, 1.0, &update)
}

pub(crate) fn adafactor(
    tch: &Tch,
    settings: &Adafactor,
    parameter: &mut Tensor,
    gradient: &Tensor,
    second: &mut Second<Tensor>,
) -> Result<()> {
    check::adafactor(parameter, gradient, second)?;
    let g = scaled(tch, gradient, settings.gradient_scale)?;
    let squares = g.f_square()?.f_add_scalar(f64::from(settings.eps[0]))?;
    let beta = settings.beta();
    let update = match second {
        Second::Full(held) => g.f_div(&average(tch, held, beta, &squares)?.f_sqrt()?)?,
        Second::Factored(Factors { rows, columns }) => {
            let mean = |dim: i64| squares.f_mean_dim([dim].as_slice(), false, None)?.f_unsqueeze(0);
            let row = average(tch, rows, beta, &mean(1)?)?;
            let column = average(tch, columns, beta, &mean(0)?)?;
            let row = row.f_div(&row.f_mean(None)?)?.f_tr()?;
            g.f_div(&row.f_mul(&column)?.f_sqrt()?)?
        }
    };
    let clip = (rms(&update)? / f64::from(settings.clip)).max(1.0);
    let least = match settings.scale_parameter {
        true => rms(&tch.wide(parameter)?)?.max(settings.eps[1].into()),
        false => 1.0,
    };
    let rate = f64::from(settings.rate) * least;
    let update = update.f_mul_scalar(rate / clip)?;
    moved(tch, parameter, 1.0 - rate * f64::from(settings.decay), &update)
}

/// Roughly the nearest orthogonal matrix to `u`.
fn orthogonal(tch: &Tch, u: &tch::Tensor, settings: &Muon) -> Result<tch::Tensor> {
    let tall = u.size()[0] > u.size()[1];
    let bf16 = settings.format == Format::Bf16;
    let product = |a: &tch::Tensor, b: &tch::Tensor| -> Result<tch::Tensor> {
        Ok(rounded(tch, a, bf16)?.f_matmul(&rounded(tch, b, bf16)?)?)
    };
    let norm = u.f_square()?.f_sum(None)?.f_sqrt()?.f_clamp_min(Muon::EPS)?;
    let mut x = if tall { u.f_tr()? } else { u.shallow_clone() };
    x = x.f_div(&norm)?;
    let [a, b, c] = Muon::COEFFICIENTS;
    for _ in 0..settings.iterations {
        let gram = product(&x, &x.f_tr()?)?;
        let mixed = gram.f_mul_scalar(b)?.f_add(&product(&gram, &gram)?.f_mul_scalar(c)?)?;
        x = x.f_mul_scalar(a)?.f_add(&product(&mixed, &x)?)?;
    }
    Ok(if tall { x.f_tr()? } else { x })
}

pub(crate) fn muon(
    tch: &Tch,
    settings: &Muon,
    parameter: &mut Tensor,
    gradient: &Tensor,
    momentum: &mut Tensor,
) -> Result<()> {
    check::muon(settings, parameter, gradient, momentum)?;
    let [rows, columns] = parameter.shape();
    let (kept, rate) = (f64::from(settings.momentum), f64::from(settings.rate));
    let g = scaled(tch, gradient, settings.gradient_scale)?;
    let m = average(tch, momentum, kept, &g)?;
    if rows * columns == 0 {
        return Ok(());
    }
    let u = m.f_mul_scalar(kept)?.f_add(&g.f_mul_scalar(1.0 - kept)?)?;
    let update = orthogonal(tch, &u, settings)?.f_mul_scalar(rate * Muon::scale(rows, columns))?;
    moved(tch, parameter, 1.0 - rate * f64::from(settings.decay), &update)
}

pub(crate) fn sums_of_squares(tensors: &[&Tensor]) -> Result<Vec<f64>> {
    if tensors.is_empty() {
        return Ok(Vec::new());
    }
    let sum = |x: &&Tensor| x.values().f_to_kind(tch::Kind::Double)?.f_square()?.f_sum(None);
    let sums = tensors.iter().map(sum).collect::<Result<Vec<_>, _>>()?;
    Ok(Vec::try_from(tch::Tensor::f_stack(&sums, 0)?)?)
}

pub(crate) fn zero_tensor(tch: &Tch, rows: usize, columns: usize) -> Result<Tensor> {
    Tensor::new(rows, columns, zeros(tch, rows, columns)?)
}
