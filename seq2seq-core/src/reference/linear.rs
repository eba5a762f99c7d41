//! Packed linear layers: y = scale · x Wᵀ + b, then activation or gate, then residual.
//!
//! - f32: the operands as they are, summed in f64.
//! - bf16: weights and activations rounded to bf16 (nearest, ties to even), their exact products summed in f64.
//!   Weights are rounded without `scale`; the sum is scaled.
//! - int8: [`quant::channel`] for each output channel, [`quant::row`] for each row, exact integer sums Σ (q - z) w, then
//!   sum · row scale · channel scale, where the channel scale is the f32 product of the quantiser's and `scale`.

use super::{Tensor, activation};
use crate::backend::check::{self, LinearShape};
use crate::{Epilogue, Format, LinearPart, LinearSpec, Result, Rows, quant};
use half::bf16;

/// A layer in the layout of its definition: one run of `input` weights an output channel.
#[derive(Debug)]
pub struct Linear {
    shape: LinearShape,
    gated: bool,
    scale: f32,
    weights: Weights,
    bias: Vec<f32>,
}

#[derive(Debug)]
enum Weights {
    F32(Vec<f32>),
    /// Rounded, held as f32.
    Bf16(Vec<f32>),
    /// Values, and a scale a channel.
    Int8(Vec<i8>, Vec<f32>),
}

/// `v` rounded to bf16.
fn round(v: f32) -> f32 {
    bf16::from_f32(v).to_f32()
}

/// `[out, in]` of a part, whichever way it lies.
fn rows_of(part: &LinearPart) -> Vec<f32> {
    let values = part.weight.to_f32();
    if !part.transposed {
        return values;
    }
    let (input, output) = (part.weight.shape()[0], part.weight.shape()[1]);
    (0..output)
        .flat_map(|o| (0..input).map(move |i| (o, i)))
        .map(|(o, i)| values[i * output + o])
        .collect()
}

impl Linear {
    pub(super) fn pack(spec: &LinearSpec, format: Format) -> Result<Self> {
        let shape = check::pack(spec, format)?;
        let values: Vec<f32> = spec.parts.iter().flat_map(rows_of).collect();
        let weights = match format {
            Format::F32 => Weights::F32(values),
            Format::Bf16 => Weights::Bf16(values.into_iter().map(round).collect()),
            Format::Int8 => {
                let mut quantised = vec![0; values.len()];
                let channels = values.chunks(shape.input).zip(quantised.chunks_mut(shape.input));
                let scales =
                    channels.map(|(v, q)| quant::channel::quantise(v, q) * spec.scale).collect();
                Weights::Int8(quantised, scales)
            }
        };
        let (Weights::F32(checked) | Weights::Bf16(checked) | Weights::Int8(_, checked)) = &weights;
        check::finite("pack", "weight", checked)?;
        let bias = spec.parts.iter().flat_map(|p| match &p.bias {
            Some(bias) => bias.to_f32(),
            None => vec![0.0; p.weight.shape()[usize::from(p.transposed)]],
        });
        Ok(Self { shape, gated: spec.gated, scale: spec.scale, bias: bias.collect(), weights })
    }

    /// scale · x Wᵀ + b of one row, for every channel.
    fn products(&self, x: &[f32]) -> Vec<f64> {
        let dot = |x: &[f32], w: &[f32]| -> f64 {
            let sum: f64 = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
            sum * f64::from(self.scale)
        };
        let k = self.shape.input;
        let sums: Vec<f64> = match &self.weights {
            Weights::F32(w) => w.chunks(k).map(|w| dot(x, w)).collect(),
            Weights::Bf16(w) => {
                let x: Vec<f32> = x.iter().map(|&v| round(v)).collect();
                w.chunks(k).map(|w| dot(&x, w)).collect()
            }
            Weights::Int8(w, scales) => {
                let mut q = vec![0; k];
                let row = quant::row::quantise(x, &mut q);
                let scale = f64::from(row.scale);
                let sum = |w: &[i8]| -> i32 {
                    q.iter().zip(w).map(|(&q, &w)| (i32::from(q) - row.zero) * i32::from(w)).sum()
                };
                let channels = w.chunks(k).zip(scales);
                channels.map(|(w, &c)| f64::from(sum(w)) * scale * f64::from(c)).collect()
            }
        };
        sums.iter().zip(&self.bias).map(|(&s, &b)| s + f64::from(b)).collect()
    }
}

pub(super) fn linear(
    x: &Tensor,
    layer: &Linear,
    epilogue: &Epilogue<'_, Tensor>,
) -> Result<Tensor> {
    check::linear(x, layer.shape, epilogue)?;
    let width = layer.shape.output;
    let act = |v: f64| epilogue.activation.map_or(v, |a| activation::apply(a, v));
    let mut out = Vec::with_capacity(x.rows() * width);
    for (n, row) in x.iter().enumerate() {
        let products = layer.products(row);
        for o in 0..width {
            let mut y = act(products[o]);
            if layer.gated {
                y *= products[width + o];
            }
            if let Some(residual) = epilogue.residual {
                y += f64::from(residual.row(n)[o]);
            }
            out.push(y as f32);
        }
    }
    Ok(Tensor::new(x.rows(), width, out))
}
