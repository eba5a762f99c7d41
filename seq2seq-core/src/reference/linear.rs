//! Packed linear layers: y = scale · x Wᵀ + b, then activation or gate, then residual.
//!
//! - f32: the operands as they are, summed in f64.
//! - bf16: weights and activations rounded to bf16 (nearest, ties to even), their exact products summed in f64.
//!   Weights are rounded without `scale`; the sum is scaled.
//! - f16: weights rounded to f16 (nearest, ties to even), activations as they are, summed in f64.
//! - int8: [`quant::channel`] for each output channel, [`quant::row`] for each row, exact integer sums Σ (q - z) w, then
//!   sum · row scale · channel scale, where the channel scale is the f32 product of the quantiser's and `scale`.
//! - int4: [`quant::group`] for each output channel, [`quant::row`] for each row; the exact integer sums of the groups
//!   times their scales are summed in f64, then times the row scale and `scale`.

use super::{Tensor, activation};
use crate::backend::check::{self, LinearShape};
use crate::{
    Epilogue, Format, LinearPart, LinearSpec, Quantisation, Result, Rows,
    quant::{self, group},
};
use half::{bf16, f16};

/// A layer in the layout of its definition: one run of `input` weights an output channel.
///
/// ```
/// use seq2seq_core::{Backend, Epilogue, Format, HostTensor, LinearSpec, reference::{Reference, linear::Linear}};
///
/// let weight = HostTensor::from_f32(vec![1, 2], &[0.3, 12.7])?;
/// let y = |format| {
///     let layer: Linear = Reference.pack(&LinearSpec::single(weight.clone(), None), format)?;
///     let x = Reference.upload(&HostTensor::from_f32(vec![1, 2], &[1.0, 0.0])?)?;
///     Reference.download(&Reference.linear(&x, &layer, Epilogue::NONE)?)
/// };
/// assert_eq!(y(Format::F32)?, [0.3]);
/// assert_eq!(y(Format::Bf16)?, [0.30078125]); // eight bits of it
/// assert!((y(Format::Int8)?[0] - 0.3).abs() < 1e-6); // three steps of 0.1, which the 12.7 beside it makes
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
    /// Of f16 those that were rounded to it.
    F32(Vec<f32>),
    /// Rounded, held as f32.
    Bf16(Vec<f32>),
    /// Values, and a scale a channel.
    Int8(Vec<i8>, Vec<f32>),
    /// Levels, and a scale for each group of a channel.
    Int4(Vec<i8>, Vec<f32>),
}

/// `v` rounded to bf16.
fn round(v: f32) -> f32 {
    bf16::from_f32(v).to_f32()
}

/// The integers of a row of activations, less its zero point, and its scale.
fn quantise(x: &[f32]) -> (Vec<i32>, f64) {
    let mut q = vec![0; x.len()];
    let row = quant::row::quantise(x, &mut q);
    (q.into_iter().map(|q| i32::from(q) - row.zero).collect(), row.scale.into())
}

/// An exact sum of products.
fn sum(x: &[i32], w: &[i8]) -> f64 {
    x.iter().zip(w).map(|(&x, &w)| x * i32::from(w)).sum::<i32>().into()
}

/// `[out, in]` of a part, whichever way it lies.
///
/// ```
/// use seq2seq_core::{HostTensor, LinearPart, reference::linear::rows_of};
///
/// // [in, out]
/// let weight = HostTensor::from_f32(vec![3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0])?;
/// let part = LinearPart { weight, bias: None, transposed: true };
/// assert_eq!(rows_of(&part), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn rows_of(part: &LinearPart) -> Vec<f32> {
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

/// The codes of a part and the scales of their groups: those that it has, or those that its weights are quantised to.
///
/// ```
/// use seq2seq_core::{HostTensor, LinearPart, quant::group::LEVELS, reference::linear::codes_of};
///
/// let weight = HostTensor::from_f32(vec![1, 40], &[0.5; 40])?;
/// let (codes, scales) = codes_of(&LinearPart { weight, bias: None, transposed: false }, 40);
/// assert_eq!((codes.len(), scales.len()), (40, 2)); // a group of 32 and one of 8
/// let back = f32::from(LEVELS[usize::from(codes[0])]) * scales[0];
/// assert!((back - 0.5).abs() < 0.01);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn codes_of(part: &LinearPart, input: usize) -> (Vec<u8>, Vec<f32>) {
    if let Some(Quantisation::Groups { scales }) = part.weight.quantisation() {
        return (part.weight.bytes().to_vec(), scales.to_vec());
    }
    let (values, groups) = (rows_of(part), group::groups(input));
    let (mut codes, mut scales) = (vec![0; values.len()], vec![0.0; values.len() / input * groups]);
    let channels = values.chunks(input).zip(codes.chunks_mut(input));
    for ((v, codes), scales) in channels.zip(scales.chunks_mut(groups)) {
        group::quantise(v, codes, scales);
    }
    (codes, scales)
}

impl Linear {
    pub(super) fn pack(spec: &LinearSpec, format: Format) -> Result<Self> {
        let shape = check::pack(spec, format)?;
        let values: Vec<f32> = spec.parts.iter().flat_map(rows_of).collect();
        let weights = match format {
            Format::F32 => Weights::F32(values),
            Format::Bf16 => Weights::Bf16(values.into_iter().map(round).collect()),
            Format::F16 => {
                Weights::F32(values.into_iter().map(|v| f16::from_f32(v).to_f32()).collect())
            }
            Format::Int8 => {
                let mut quantised = vec![0; values.len()];
                let channels = values.chunks(shape.input).zip(quantised.chunks_mut(shape.input));
                let scales =
                    channels.map(|(v, q)| quant::channel::quantise(v, q) * spec.scale).collect();
                Weights::Int8(quantised, scales)
            }
            Format::Int4 => {
                let parts = spec.parts.iter().map(|part| codes_of(part, shape.input));
                let (codes, scales): (Vec<_>, Vec<_>) = parts.unzip();
                let level = |code: u8| group::LEVELS[usize::from(code)];
                let levels = codes.into_iter().flatten().map(level).collect();
                Weights::Int4(levels, scales.into_iter().flatten().collect())
            }
        };
        let (Weights::F32(checked)
        | Weights::Bf16(checked)
        | Weights::Int8(_, checked)
        | Weights::Int4(_, checked)) = &weights;
        check::finite("pack", "weight", checked)?;
        let bias = spec.parts.iter().flat_map(|p| match &p.bias {
            Some(bias) => bias.to_f32(),
            None => vec![0.0; p.weight.shape()[usize::from(p.transposed)]],
        });
        Ok(Self { shape, gated: spec.gated, scale: spec.scale, bias: bias.collect(), weights })
    }

    pub(super) fn shape(&self) -> LinearShape {
        self.shape
    }

    pub(super) fn gated(&self) -> bool {
        self.gated
    }

    pub(super) fn scale(&self) -> f32 {
        self.scale
    }

    /// The weights of f32, bf16 and f16, `[product, in]`; none of a quantised layer.
    pub(super) fn floats(&self) -> &[f32] {
        match &self.weights {
            Weights::F32(w) | Weights::Bf16(w) => w,
            Weights::Int8(..) | Weights::Int4(..) => &[],
        }
    }

    /// scale · x Wᵀ + b of one row, for every channel.
    pub(super) fn products(&self, x: &[f32]) -> Vec<f64> {
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
                let (x, scale) = quantise(x);
                let channels = w.chunks(k).zip(scales);
                channels.map(|(w, &c)| sum(&x, w) * scale * f64::from(c)).collect()
            }
            Weights::Int4(w, scales) => {
                let (x, scale) = quantise(x);
                let channel = |(w, scales): (&[i8], &[f32])| -> f64 {
                    let groups = x.chunks(group::GROUP).zip(w.chunks(group::GROUP)).zip(scales);
                    groups.map(|((x, w), &g)| sum(x, w) * f64::from(g)).sum()
                };
                let channels = w.chunks(k).zip(scales.chunks(group::groups(k)));
                channels.map(|c| channel(c) * scale * f64::from(self.scale)).collect()
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
