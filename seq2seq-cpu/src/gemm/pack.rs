//! Weights from the checkpoint's matrices into panels.
//!
//! Panel by panel, in parallel: the rows of the source that a panel needs are converted to f32 (f16 that stays f16 is not),
//! checked, rounded or quantised to the format, and written in the order in which the kernel reads them. The source is read in place, so beside the
//! result only one panel a thread is held; and of a large matrix in a mapped file not all is held either, as it is let go of panel by
//! panel.

mod columns;
mod weave;

use self::{
    columns::{Columns, Element, stride},
    weave::Woven,
};
use super::{
    Linear,
    micro::{Layout, MAX_COLUMNS, MicroKernel, Weight},
};
use crate::{
    isa::Isa,
    kernels::{
        quantise::{copy_channel, quantise_channel, quantise_groups, sum_of_groups},
        round::{round, within},
        round_f16::{F16_LIMIT, round_f16},
    },
    memory::{Buffer, Chunks},
    threads::Threads,
};
use bytemuck::{Pod, cast_slice_mut};
use seq2seq_core::{
    DType, Format, LinearPart, LinearSpec, Quantisation, Result,
    backend::check::{self, LinearShape},
    quant::group::{GROUP, ZERO, groups},
};
use std::{
    mem::swap,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

/// Weights above this round to infinity in bf16: the middle between its largest value and the next power of two.
pub(super) const BF16_LIMIT: f32 = f32::from_bits(0x7f7f_8000);

/// A matrix of at least so many bytes is let go of panel by panel: what gives the processor's other cores notice of each piece takes
/// microseconds, and of a smaller one the whole is little beside a model.
const LARGE: usize = 16 << 20;

/// Consecutive columns of a panel that are consecutive outputs of one part.
struct Run<'a> {
    part: &'a LinearPart,
    /// Outputs of the part.
    outputs: Range<usize>,
    /// The first column in the panel.
    column: usize,
}

/// The codes of int4 that the part of `run` holds, and the scales of their groups; `None` where it holds weights.
fn codes_of<'a>(run: &Run<'a>) -> Option<(&'a [u8], &'a [f32])> {
    match run.part.weight.quantisation()? {
        Quantisation::Groups { scales } => Some((run.part.weight.bytes(), scales)),
        Quantisation::Channels { .. } => None,
    }
}

/// The scales of the outputs that the part of `run` holds in int8; `None` where it holds no int8, or other scales.
fn channels_of<'a>(run: &Run<'a>) -> Option<&'a [f32]> {
    match run.part.weight.quantisation()? {
        Quantisation::Channels { scales, axis } if *axis == usize::from(run.part.transposed) => {
            Some(scales)
        }
        _ => None,
    }
}

/// Where the columns of panels come from.
struct Source<'a> {
    spec: &'a LinearSpec,
    shape: LinearShape,
    /// Columns of a panel.
    columns: usize,
}

impl<'a> Source<'a> {
    /// Output columns that a panel yields: a gated one half of its columns.
    fn width(&self) -> usize {
        self.columns / if self.spec.gated { 2 } else { 1 }
    }

    fn panels(&self) -> usize {
        self.shape.output.div_ceil(self.width())
    }

    /// What stands in `panel`, from left to right. Columns that no run covers lie beyond the matrix.
    fn runs(&self, panel: usize) -> impl Iterator<Item = Run<'a>> {
        let wanted = panel * self.width()..(panel + 1) * self.width();
        let (gated, half) = (self.spec.gated, self.width());
        let mut first = 0;
        self.spec.parts.iter().enumerate().filter_map(move |(i, part)| {
            let offset = if gated { 0 } else { first };
            let outputs = part.weight.shape()[usize::from(part.transposed)];
            first += outputs;
            let begin = wanted.start.max(offset);
            let end = wanted.end.min(offset + outputs);
            (begin < end).then(|| Run {
                part,
                outputs: begin - offset..end - offset,
                column: begin - wanted.start + if gated { i * half } else { 0 },
            })
        })
    }
}

/// One panel of the result.
struct Target<'a> {
    panel: &'a mut [u8],
    /// One a column.
    scale: &'a mut [f32],
    bias: &'a mut [f32],
}

/// Packs panels of one layer.
struct Packer<'a> {
    isa: Isa,
    source: Source<'a>,
    layout: Layout,
}

impl Packer<'_> {
    /// Lets go of the rows of large matrices that a panel has been made of; where outputs are columns, no part is done with before
    /// all panels are.
    fn release(&self, panel: usize) {
        for Run { part, outputs, .. } in self.source.runs(panel) {
            if !part.transposed && part.weight.bytes().len() >= LARGE {
                part.weight.release_rows(outputs);
            }
        }
    }

    /// Fills `target`. False where a weight is not finite, or not in the format.
    fn pack(&self, panel: usize, target: Target<'_>) -> bool {
        for run in self.source.runs(panel) {
            if let Some(bias) = &run.part.bias {
                let columns = run.column..run.column + run.outputs.len();
                bias.read_f32(run.outputs.start, &mut target.bias[columns]);
            }
        }
        let (header, body) = target.panel.split_at_mut(self.layout.header_bytes());
        target.scale.fill(self.source.spec.scale);
        let in_f16 = |run: Run<'_>| run.part.weight.dtype() == DType::F16;
        if self.layout.weight == Weight::F16 && self.source.runs(panel).all(in_f16) {
            // Without their sign the bits are ordered as the numbers are, and from infinity on are none.
            let small = |x: &[u16]| x.iter().fold(0, |most: u16, x| most.max(x & 0x7fff)) < 0x7c00;
            return self.lay_out(panel, body, |x: &[u16], out: &mut [u16]| {
                out.copy_from_slice(x);
                small(x)
            });
        }
        let isa = self.isa;
        match self.layout.weight {
            Weight::F32 => self.lay_out(panel, body, |x: &[f32], out: &mut [f32]| {
                out.copy_from_slice(x);
                within(isa, f32::MAX, x)
            }),
            Weight::Bf16 => self.lay_out(panel, body, |x: &[f32], out: &mut [u16]| {
                round(isa, x, out);
                within(isa, BF16_LIMIT.next_down(), x)
            }),
            Weight::F16 => self.lay_out(panel, body, |x: &[f32], out: &mut [u16]| {
                round_f16(isa, x, out);
                within(isa, F16_LIMIT.next_down(), x)
            }),
            Weight::I8 => {
                let mut scales = target.scale.iter_mut();
                // Without sums there are none to be written.
                let mut negated = cast_slice_mut::<_, i32>(header).iter_mut();
                let mut channel = |scale: f32, sum: i32| {
                    if let Some(negated) = negated.next() {
                        *negated = -sum;
                    }
                    scales.next().is_none_or(|s| {
                        *s *= scale;
                        s.is_finite()
                    })
                };
                let Some(stored) = self.stored_scales(panel) else {
                    return self.lay_out(panel, body, |x: &[f32], out: &mut [i8]| {
                        let (scale, sum) = quantise_channel(isa, x, out);
                        channel(scale, sum)
                    });
                };
                let mut stored = stored.into_iter();
                self.lay_out(panel, body, |x: &[i8], out: &mut [i8]| {
                    let sum = copy_channel(isa, x, out);
                    stored.next().is_none_or(|scale| channel(scale, sum))
                })
            }
            Weight::I4 => self.pack_groups(panel, header, body),
        }
    }

    /// The scale of each column of a panel whose parts hold int8, all of them; 0 beyond the matrix.
    fn stored_scales(&self, panel: usize) -> Option<[f32; MAX_COLUMNS]> {
        let mut stored = [0.0; MAX_COLUMNS];
        for run in self.source.runs(panel) {
            let theirs = &channels_of(&run)?[run.outputs.clone()];
            stored[run.column..][..theirs.len()].copy_from_slice(theirs);
        }
        Some(stored)
    }

    /// Fills a panel of int4. False where a scale is not finite.
    fn pack_groups(&self, panel: usize, header: &mut [u8], body: &mut [u8]) -> bool {
        let input = self.source.shape.input;
        let (columns, groups) = (self.layout.columns, groups(input));
        let mut codes = Buffer::<u8>::scratch(columns * groups * GROUP);
        let mut scales = Buffer::<f32>::scratch(columns * groups);
        let stored = self.stored_channels(panel);
        let mut channels = stored.iter().zip(scales.chunks_exact_mut(groups));
        // Without sums there are none to be written.
        let mut negated = cast_slice_mut::<_, f32>(header).iter_mut();
        let finite = self.lay_out(panel, &mut codes, |x: &[f32], out: &mut [u8]| {
            let Some((stored, scales)) = channels.next() else { return true };
            let sum = match stored {
                None => {
                    let (x, out) = (x.as_chunks().0, out.as_chunks_mut().0);
                    quantise_groups(self.isa, x, out, scales)
                }
                Some((codes, their)) => {
                    out[..input].copy_from_slice(codes);
                    out[input..].fill(ZERO);
                    scales.copy_from_slice(their);
                    sum_of_groups(self.isa, out.as_chunks().0, scales)
                }
            };
            if let Some(negated) = negated.next() {
                *negated = -sum as f32;
            }
            scales.iter().all(|s| s.is_finite())
        });
        self.join_halves(&codes, &scales, body);
        finite
    }

    /// For each column of a panel of int4 the codes and scales that its part holds, where it does.
    fn stored_channels(&self, panel: usize) -> [Option<(&[u8], &[f32])>; MAX_COLUMNS] {
        let input = self.source.shape.input;
        let mut stored = [None; MAX_COLUMNS];
        for run in self.source.runs(panel) {
            let Some((codes, scales)) = codes_of(&run) else { continue };
            let channels = codes.chunks_exact(input).zip(scales.chunks_exact(groups(input)));
            let channels = channels.skip(run.outputs.start).take(run.outputs.len());
            stored[run.column..].iter_mut().zip(channels).for_each(|(s, c)| *s = Some(c));
        }
        stored
    }

    /// Writes a panel of int4 from its codes, a byte each and otherwise in the order of the panel, and the scales of each
    /// column.
    fn join_halves(&self, codes: &[u8], scales: &[f32], panel: &mut [u8]) {
        let Layout { columns, unit, pairs, .. } = self.layout;
        let groups = scales.len() / columns;
        let group_codes = codes.chunks_exact(columns * GROUP);
        for (g, (codes, out)) in
            group_codes.zip(panel.chunks_exact_mut(self.layout.step_bytes())).enumerate()
        {
            let (joined, out_scales) = out.split_at_mut(columns * GROUP / 2);
            let half = columns * unit / 2;
            for (unit, out) in codes.chunks_exact(2 * half).zip(joined.chunks_exact_mut(half)) {
                let (low, high) = unit.split_at(half);
                for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
                    *out = low | high << 4;
                }
            }
            if pairs {
                joined.as_chunks_mut::<4>().0.iter_mut().for_each(|[_, b, c, _]| swap(b, c));
            }
            for (place, out) in out_scales.chunks_exact_mut(2).enumerate() {
                let scale = scales[self.layout.scale_at(place) * groups + g];
                // A bf16: the lower half is zero.
                out.copy_from_slice(&((scale.to_bits() >> 16) as u16).to_ne_bytes());
            }
        }
    }

    /// Writes a panel: each column, with the zeros that fill up its last unit, converted by `convert`, and then unit by unit side by
    /// side. Whether `convert` said so of every column.
    ///
    /// A column that lies in one piece in the source is converted from there, while it is in the first cache.
    fn lay_out<S: Element, T: Pod>(
        &self,
        panel: usize,
        body: &mut [u8],
        mut convert: impl FnMut(&[S], &mut [T]) -> bool,
    ) -> bool {
        let input = self.source.shape.input;
        let length = self.layout.units(input) * self.layout.unit;
        let stride = stride(length);
        let columns = Columns::<S>::stage(self.isa, &self.source, panel, length);
        let mut converted = Buffer::<T>::scratch(self.layout.columns * stride);
        let mut good = true;
        for (c, out) in converted.chunks_exact_mut(stride).enumerate() {
            good &= convert(columns.column(c), &mut out[..length]);
        }
        let from = Woven { layout: self.layout, values: &converted, stride, length };
        match self.layout.unit {
            1 => from.write::<1>(self.isa, body),
            2 => from.write::<2>(self.isa, body),
            _ => from.write::<4>(self.isa, body),
        }
        good
    }
}

impl Linear {
    /// Packs `spec` for the kernels of `isa`.
    pub(crate) fn pack(
        threads: &Threads,
        isa: Isa,
        spec: &LinearSpec,
        format: Format,
    ) -> Result<Self> {
        let shape = check::pack(spec, format)?;
        let kernel = MicroKernel::select(isa, format);
        let layout = kernel.layout;
        let source = Source { spec, shape, columns: layout.columns };
        let (panels, width) = (source.panels(), source.width());
        let panel_bytes = layout.panel_bytes(layout.units(shape.input));
        let mut data = Buffer::<u8>::lasting(panels * panel_bytes);
        let mut scale = vec![0.0; panels * layout.columns];
        let mut bias = vec![0.0; panels * layout.columns];

        let packer = Packer { isa, source, layout };
        let good = AtomicBool::new(true);
        let columns = |values| Chunks::new(values, layout.columns);
        let targets =
            (Chunks::new(&mut data[..], panel_bytes), (columns(&mut scale), columns(&mut bias)));
        let cost = shape.input * layout.columns;
        threads.each_part(targets, cost, |panel, (data, (scale, bias))| {
            if !packer.pack(panel, Target { panel: data, scale, bias }) {
                good.store(false, Ordering::Relaxed);
            }
            packer.release(panel);
        });
        if !good.into_inner() {
            return Err(check::not_finite("pack", "weight"));
        }
        Ok(Self { isa, kernel, shape, gated: spec.gated, panels, width, data, scale, bias })
    }
}
