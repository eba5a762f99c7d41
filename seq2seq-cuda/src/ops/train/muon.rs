//! A step of Muon: momentum, of which roughly the nearest orthogonal matrix is taken.

use super::linear::product;
use super::optimiser::step;
use crate::Cuda;
use crate::kernels::elementwise::{combine, sum_of_squares};
use crate::kernels::rows::View;
use crate::memory::Tensor;
use seq2seq_core::backend::check;
use seq2seq_core::train::Muon;
use seq2seq_core::{Format, Result, Rows};

/// a x + b y
fn combined(cuda: &Cuda, x: (f32, &Tensor), y: (f32, &Tensor)) -> Result<Tensor> {
    let mut out = cuda.tensor(x.1.rows(), x.1.width())?;
    let y = (y.0, y.1.values());
    combine(cuda, (x.0, x.1.values()), Some(y), out.values_mut())?;
    Ok(out)
}

pub(crate) fn muon(
    cuda: &Cuda,
    settings: &Muon,
    parameter: &mut Tensor,
    gradient: &Tensor,
    momentum: &mut Tensor,
) -> Result<()> {
    check::muon(settings, parameter, gradient, momentum)?;
    if gradient.values().len() == 0 {
        return Ok(());
    }
    let (kept, scale) = (f64::from(settings.momentum), f64::from(settings.gradient_scale));
    let new = ((1.0 - kept) * scale) as f32;
    *momentum = combined(cuda, (kept as f32, momentum), (new, gradient))?;
    let u = combined(cuda, (kept as f32, momentum), (new, gradient))?;
    let update = orthogonal(cuda, u, settings.iterations, settings.format)?;
    let rate = f64::from(settings.rate);
    let scale = rate * Muon::scale(parameter.rows(), parameter.width());
    let left = 1.0 - rate * f64::from(settings.decay);
    step(cuda, parameter, left, (update.values(), -scale))
}

/// Steps of Newton and Schulz. Of a tall matrix, X Xᵀ is that of its columns: Xᵀ X, and the mixed matrix stands on its right.
fn orthogonal(cuda: &Cuda, u: Tensor, iterations: u32, format: Format) -> Result<Tensor> {
    let tall = u.rows() > u.width();
    let squares = sum_of_squares(cuda, u.values())?;
    // A norm that is not a number is larger than any.
    let least = squares < Muon::EPS * Muon::EPS;
    let inverse = if least { 1.0 / Muon::EPS } else { squares.sqrt().recip() };
    let mut x = cuda.tensor(u.rows(), u.width())?;
    combine(cuda, (inverse as f32, u.values()), None, x.values_mut())?;
    let [a, b, c] = Muon::COEFFICIENTS.map(|v| v as f32);
    let multiply = |a: View<'_>, b: View<'_>| product(cuda, [a, b], (format, 1.0), None);
    for _ in 0..iterations {
        let rows = if tall { View::of(&x).turned() } else { View::of(&x) };
        let gram = multiply(rows, rows)?;
        // It is symmetric, but for rounding in bf16 not even for that: its columns are read as columns.
        let squared = multiply(View::of(&gram), View::of(&gram).turned())?;
        let mixed = combined(cuda, (b, &gram), (c, &squared))?;
        let moved = match tall {
            true => multiply(View::of(&x), View::of(&mixed))?,
            false => multiply(View::of(&mixed), View::of(&x).turned())?,
        };
        x = combined(cuda, (a, &x), (1.0, &moved))?;
    }
    Ok(x)
}
