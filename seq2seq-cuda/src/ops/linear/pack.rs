//! Packing: the channels of a layer, one by one, into the layout of its format.

use super::layout::Layout;
use crate::kernels::operands::Operands;
use half::{bf16, f16};
use seq2seq_core::backend::check::{self, LinearShape};
use seq2seq_core::quant::{self, group};
use seq2seq_core::{LinearPart, LinearSpec, Quantisation, Result};

/// A layer in host memory. Vectors of channels are padded with zeros; those that a format lacks are empty.
pub(super) struct Packed {
    pub(super) weights: Vec<u8>,
    pub(super) bias: Vec<f32>,
    pub(super) channel_scale: Vec<f32>,
    /// The bits of i32 (int8) or f32 (int4).
    pub(super) channel_sum: Vec<u32>,
}

/// The channels of one part, wherever they lie.
struct Source<'a> {
    part: &'a LinearPart,
    /// Of a part that is `[in, out]`: read whole, as its channels are columns.
    transposed: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
    outputs: usize,
}

impl<'a> Source<'a> {
    fn new(part: &'a LinearPart) -> Self {
        Self {
            part,
            transposed: part.transposed.then(|| part.weight.to_f32()),
            bias: part.bias.as_ref().map(|b| b.to_f32()),
            outputs: part.weight.shape()[usize::from(part.transposed)],
        }
    }

    /// The weights of channel `o`.
    fn read(&self, o: usize, out: &mut [f32]) {
        match &self.transposed {
            None => self.part.weight.read_f32(o * out.len(), out),
            Some(all) => {
                let column = all.iter().skip(o).step_by(self.outputs);
                out.iter_mut().zip(column).for_each(|(w, &v)| *w = v);
            }
        }
    }

    /// The codes and group scales of channel `o`: those that it has, or those that it is quantised to.
    fn codes(&self, o: usize, row: &mut [f32]) -> (Vec<u8>, Vec<f32>) {
        let (input, groups) = (row.len(), group::groups(row.len()));
        if let Some(Quantisation::Groups { scales }) = self.part.weight.quantisation() {
            let codes = &self.part.weight.bytes()[o * input..][..input];
            return (codes.to_vec(), scales[o * groups..][..groups].to_vec());
        }
        self.read(o, row);
        let (mut codes, mut scales) = (vec![0; input], vec![0.0; groups]);
        group::quantise(row, &mut codes, &mut scales);
        (codes, scales)
    }
}

/// The channels in the order of the layout: of a gated layer gate and up in turn, otherwise as they come.
fn order(sources: &[Source<'_>], gated: bool) -> Vec<(usize, usize)> {
    match gated {
        true => (0..sources[0].outputs).flat_map(|o| [(0, o), (1, o)]).collect(),
        false => {
            let part = |(i, s): (usize, &Source<'_>)| (0..s.outputs).map(move |o| (i, o));
            sources.iter().enumerate().flat_map(part).collect()
        }
    }
}

/// Packs a layer whose shapes have been checked. Fails on weights that are not finite in their format.
pub(super) fn pack(spec: &LinearSpec, operands: Operands, shape: LinearShape) -> Result<Packed> {
    let layout = Layout::new(operands, shape.product, shape.input);
    let sources: Vec<_> = spec.parts.iter().map(Source::new).collect();
    // Vectors are read in whole panels, of f32 and f16 in 32 channels.
    let channels = layout.channels;
    let (mut weights, mut bias) = (layout.empty(), vec![0.0; channels]);
    let (mut channel_scale, mut channel_sum) = match operands {
        Operands::Int8 | Operands::Int8Swizzled => (vec![0.0; channels], vec![0; channels]),
        Operands::Int4 => (Vec::new(), vec![0; channels]),
        Operands::F32 | Operands::F16 | Operands::Bf16 | Operands::Bf16Swizzled => {
            (Vec::new(), Vec::new())
        }
    };
    let mut row = vec![0.0; shape.input];
    let mut quantised = vec![0i8; shape.input];
    for (c, (part, o)) in order(&sources, spec.gated).into_iter().enumerate() {
        let source = &sources[part];
        bias[c] = source.bias.as_ref().map_or(0.0, |b| b[o]);
        match operands {
            Operands::F32 => {
                source.read(o, &mut row);
                check::finite("pack", "weight", &row)?;
                for (k, w) in row.iter().enumerate() {
                    weights[layout.at(c, k)..][..4].copy_from_slice(&w.to_ne_bytes());
                }
            }
            Operands::F16 | Operands::Bf16 | Operands::Bf16Swizzled => {
                source.read(o, &mut row);
                for (k, &w) in row.iter().enumerate() {
                    let (bits, rounded) = round(operands, w);
                    check::finite("pack", "weight", &[rounded])?;
                    weights[layout.at(c, k)..][..2].copy_from_slice(&bits.to_ne_bytes());
                }
            }
            Operands::Int8 | Operands::Int8Swizzled => {
                source.read(o, &mut row);
                channel_scale[c] = quant::channel::quantise(&row, &mut quantised) * spec.scale;
                check::finite("pack", "weight", &channel_scale[c..=c])?;
                for (k, &w) in quantised.iter().enumerate() {
                    weights[layout.at(c, k)] = w as u8;
                }
                let sum: i32 = quantised.iter().map(|&w| i32::from(w)).sum();
                channel_sum[c] = sum.cast_unsigned();
            }
            Operands::Int4 => {
                let (codes, scales) = source.codes(o, &mut row);
                check::finite("pack", "weight", &scales)?;
                channel_sum[c] = write_int4(&layout, c, (&codes, &scales), &mut weights).to_bits();
            }
        }
    }
    Ok(Packed { weights, bias, channel_scale, channel_sum })
}

/// The bits of a weight that is rounded to two bytes, f16 or bf16, and what it is then.
fn round(operands: Operands, w: f32) -> (u16, f32) {
    if operands == Operands::F16 {
        let w = f16::from_f32(w);
        return (w.to_bits(), w.to_f32());
    }
    let w = bf16::from_f32(w);
    (w.to_bits(), w.to_f32())
}

/// Writes a channel of int4 and gives Σ group scale · level.
fn write_int4(layout: &Layout, c: usize, channel: (&[u8], &[f32]), weights: &mut [u8]) -> f32 {
    let (codes, scales) = channel;
    let mut sum = 0.0;
    for (g, (codes, &scale)) in codes.chunks(group::GROUP).zip(scales).enumerate() {
        // A scale is a bf16: nothing is rounded.
        let stored = bf16::from_f32(scale).to_bits().to_ne_bytes();
        weights[layout.group_scale(c, g)..][..2].copy_from_slice(&stored);
        for (i, &code) in codes.iter().enumerate() {
            let (byte, upper) = layout.code(c, g * group::GROUP + i);
            let (keep, shift) = if upper { (0x0f, 4) } else { (0xf0, 0) };
            weights[byte] = weights[byte] & keep | code << shift;
        }
        let levels: i32 = codes.iter().map(|&c| i32::from(group::LEVELS[usize::from(c)])).sum();
        sum += f64::from(levels) * f64::from(scale);
    }
    sum as f32
}
