//! Steps of Muon: each product of an iteration is one of the packed kernels'.
//!
//! ```text
//! A = X Xᵀ           Xᵀ in stripes, which is X turned
//! B = b A + c A A    A in stripes
//! X = a X + B X      X in stripes
//! ```

use super::masters::Columns;
use super::optimiser::squares;
use super::products::turned;
use crate::gemm::Linear;
use crate::kernels::backward::optimiser::MomentumRow;
use crate::kernels::backward::sum::Mix;
use crate::memory::{Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::train::Muon;
use seq2seq_core::{Epilogue, Format, Result, Rows, backend::check};

/// x · rows, times `scale`.
fn product(cpu: &Cpu, x: &Tensor, rows: &Tensor, scale: f32, format: Format) -> Result<Tensor> {
    let source = Columns { x: rows, columns: 0..rows.width() };
    let panels = Linear::of_source(cpu.threads(), cpu.isa(), &source, scale, format);
    crate::ops::linear::linear(cpu.threads(), x, &panels, Epilogue::NONE)
}

/// out = kept · out + factor · x
fn mix(cpu: &Cpu, out: &mut Tensor, kept: f32, x: &Tensor, factor: f32) {
    let width = out.width();
    cpu.threads().each_part(Chunks::<f32>::rows(out), 2 * width, |row, out| {
        dispatch(cpu.isa(), Mix { out: &mut out[..width], kept, x: x.row(row), factor });
    });
}

/// Roughly the nearest orthogonal matrix to `inverse` · u.
fn orthogonal(cpu: &Cpu, u: Tensor, inverse: f64, settings: &Muon) -> Result<Tensor> {
    let tall = u.rows() > u.width();
    let mut x = if tall { turned(cpu, &u, 0..u.width()) } else { u };
    let width = x.width();
    cpu.threads().each_part(Chunks::<f32>::rows(&mut x), width, |_, row| {
        row[..width].iter_mut().for_each(|v| *v *= inverse as f32);
    });
    let [a, b, c] = Muon::COEFFICIENTS.map(|v| v as f32);
    let format = settings.format;
    for _ in 0..settings.iterations {
        let gram = product(cpu, &x, &turned(cpu, &x, 0..width), 1.0, format)?;
        let mut mixed = product(cpu, &gram, &gram, c, format)?;
        mix(cpu, &mut mixed, 1.0, &gram, b);
        let mut moved = product(cpu, &mixed, &x, 1.0, format)?;
        mix(cpu, &mut moved, 1.0, &x, a);
        x = moved;
    }
    Ok(if tall { turned(cpu, &x, 0..width) } else { x })
}

pub(super) fn step(
    cpu: &Cpu,
    settings: &Muon,
    parameter: &mut Tensor,
    gradient: &Tensor,
    momentum: &mut Tensor,
) -> Result<()> {
    check::muon(settings, parameter, gradient, momentum)?;
    let [rows, columns] = [parameter.rows(), parameter.width()];
    if rows * columns == 0 {
        return Ok(());
    }
    let mut update = Tensor::scratch(rows, columns);
    let parts = (Chunks::<f32>::rows(momentum), Chunks::<f32>::rows(&mut update));
    let (shares, scale) = ([settings.momentum, 1.0 - settings.momentum], settings.gradient_scale);
    cpu.threads().each_part(parts, 4 * columns, |row, (held, update)| {
        let gradient = gradient.row(row);
        let [held, update] = [held, update].map(|x| &mut x[..columns]);
        dispatch(cpu.isa(), MomentumRow { shares, scale, gradient, held, update });
    });
    // A norm that is not a number stays one.
    let norm = squares(cpu, &update).sqrt();
    let inverse = 1.0 / if norm < Muon::EPS { Muon::EPS } else { norm };
    let update = orthogonal(cpu, update, inverse, settings)?;
    let rate = f64::from(settings.rate);
    let kept = (1.0 - rate * f64::from(settings.decay)) as f32;
    mix(cpu, parameter, kept, &update, -(rate * Muon::scale(rows, columns)) as f32);
    Ok(())
}
