//! Weights from the checkpoint's matrices into panels.
//!
//! Panel by panel, in parallel: the rows of the source that a panel needs are converted to f32 (f16 that stays f16 is not),
//! checked, rounded or quantised to the format, and written in the order in which the kernel reads them. The source is read in place, so beside the
//! result only one panel a thread is held; and of a large matrix in a mapped file not all is held either, as it is let go of panel by
//! panel.

use super::{
    Linear,
    micro::{Layout, MAX_COLUMNS, MicroKernel, Weight},
};
use crate::{
    isa::Isa,
    kernels::{
        quantise::{quantise_channel, quantise_groups, sum_of_groups},
        round::{round, within},
        round_f16::{F16_LIMIT, round_f16},
    },
    memory::{Buffer, Chunks},
    threads::Threads,
};
use bytemuck::{Pod, cast_slice_mut};
use seq2seq_core::{
    DType, Format, HostTensor, LinearPart, LinearSpec, Quantisation, Result,
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

/// The columns of one panel, one after the other: as f32, or as bits of f16.
struct Staging<T: Pod> {
    values: Buffer<T>,
    /// Values from one column to the next.
    stride: usize,
    /// A row of a transposed part, as far as the panel needs it.
    line: [T; MAX_COLUMNS],
}

impl<T: Pod> Staging<T> {
    fn new(columns: usize, length: usize) -> Self {
        // Odd multiples of a cache line: columns that begin a multiple of 4096 bytes apart would share few lines of the
        // first cache when they are read side by side.
        let stride = length.next_multiple_of(32) + 16;
        let values = Buffer::zeroed(columns * stride);
        Self { values, stride, line: [T::zeroed(); MAX_COLUMNS] }
    }

    fn column(&self, c: usize, length: usize) -> &[T] {
        &self.values[c * self.stride..][..length]
    }

    /// Reads the columns of `run`, each of `input` weights, by `read`: from an element of the tensor on.
    fn read(&mut self, run: &Run<'_>, input: usize, read: impl Fn(&HostTensor, usize, &mut [T])) {
        let (weight, count) = (&run.part.weight, run.outputs.len());
        if run.part.transposed {
            let outputs = weight.shape()[1];
            for k in 0..input {
                let line = &mut self.line[..count];
                read(weight, k * outputs + run.outputs.start, line);
                for (c, &v) in line.iter().enumerate() {
                    self.values[(run.column + c) * self.stride + k] = v;
                }
            }
        } else {
            for (c, output) in run.outputs.clone().enumerate() {
                let at = (run.column + c) * self.stride;
                read(weight, output * input, &mut self.values[at..at + input]);
            }
        }
    }
}

/// The bits of elements of a tensor of f16, from `start` on.
fn read_f16(tensor: &HostTensor, start: usize, out: &mut [u16]) {
    let (bits, _) = tensor.bytes()[2 * start..].as_chunks();
    out.iter_mut().zip(bits).for_each(|(out, &bits)| *out = u16::from_le_bytes(bits));
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
    /// The columns of a panel, read by `read`. Codes are no numbers to be read; `pack_groups` takes them as they are.
    fn stage<T: Pod>(
        &self,
        panel: usize,
        read: impl Fn(&HostTensor, usize, &mut [T]),
    ) -> Staging<T> {
        let input = self.source.shape.input;
        let mut staging = Staging::new(self.layout.columns, input);
        for run in self.source.runs(panel).filter(|run| codes_of(run).is_none()) {
            staging.read(&run, input, &read);
        }
        staging
    }

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
            let staging = self.stage(panel, read_f16);
            self.interleave(&staging, body, |x, out: &mut [u16]| out.copy_from_slice(x));
            // Without their sign the bits are ordered as the numbers are, and from infinity on are none.
            let largest = staging.values.iter().fold(0, |most: u16, bits| most.max(bits & 0x7fff));
            return largest < 0x7c00;
        }
        let staging = self.stage(panel, HostTensor::read_f32);
        match self.layout.weight {
            Weight::F32 => {
                self.interleave(&staging, body, |x, out: &mut [f32]| out.copy_from_slice(x));
                within(self.isa, f32::MAX, &staging.values)
            }
            Weight::Bf16 => {
                self.interleave(&staging, body, |x, out: &mut [u16]| round(self.isa, x, out));
                within(self.isa, BF16_LIMIT.next_down(), &staging.values)
            }
            Weight::F16 => {
                self.interleave(&staging, body, |x, out: &mut [u16]| round_f16(self.isa, x, out));
                within(self.isa, F16_LIMIT.next_down(), &staging.values)
            }
            Weight::I8 => {
                let mut scales = target.scale.iter_mut();
                let sums = self.interleave(&staging, body, |x, out: &mut [i8]| {
                    if let Some(scale) = scales.next() {
                        *scale *= quantise_channel(self.isa, x, out);
                    }
                    out.iter().map(|&q| i32::from(q)).sum::<i32>()
                });
                if self.layout.sums {
                    for (negated, sum) in cast_slice_mut::<_, i32>(header).iter_mut().zip(sums) {
                        *negated = -sum;
                    }
                }
                target.scale.iter().all(|s| s.is_finite())
            }
            Weight::I4 => self.pack_groups(panel, &staging, header, body),
        }
    }

    /// Fills a panel of int4. False where a scale is not finite.
    fn pack_groups(
        &self,
        panel: usize,
        staging: &Staging<f32>,
        header: &mut [u8],
        body: &mut [u8],
    ) -> bool {
        let input = self.source.shape.input;
        let (columns, groups) = (self.layout.columns, groups(input));
        let mut codes = Buffer::<u8>::zeroed(columns * groups * GROUP);
        let mut scales = Buffer::<f32>::zeroed(columns * groups);
        let stored = self.stored_channels(panel);
        let mut channels = stored.iter().zip(scales.chunks_exact_mut(groups));
        let sums = self.interleave(staging, &mut codes, |x, out: &mut [u8]| {
            let Some((stored, scales)) = channels.next() else { return 0.0 };
            let Some((codes, their)) = stored else {
                let (x, out) = (x.as_chunks().0, out.as_chunks_mut().0);
                return quantise_groups(self.isa, x, out, scales);
            };
            out[..input].copy_from_slice(codes);
            out[input..].fill(ZERO);
            scales.copy_from_slice(their);
            sum_of_groups(out.as_chunks().0, scales)
        });
        if self.layout.sums {
            for (negated, sum) in cast_slice_mut::<_, f32>(header).iter_mut().zip(sums) {
                *negated = -sum as f32;
            }
        }
        self.join_halves(&codes, &scales, body);
        scales.iter().all(|s| s.is_finite())
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

    /// Writes a panel: each column converted by `convert`, then unit by unit side by side. Gives what `convert` gave.
    /// Columns are given with the zeros that fill up the last unit.
    fn interleave<S: Pod, T: Pod, R>(
        &self,
        staging: &Staging<S>,
        panel: &mut [u8],
        mut convert: impl FnMut(&[S], &mut [T]) -> R,
    ) -> Vec<R> {
        let (input, unit) = (self.source.shape.input, self.layout.unit);
        let length = self.layout.units(input) * unit;
        let stride = staging.stride;
        let mut columns = Buffer::<T>::zeroed(self.layout.columns * stride);
        let results = columns
            .chunks_exact_mut(stride)
            .enumerate()
            .map(|(c, out)| convert(staging.column(c, length), &mut out[..length]))
            .collect();
        let starts: Vec<usize> =
            (0..self.layout.columns).map(|i| self.layout.column_at(i) * stride).collect();
        let panel = cast_slice_mut(panel);
        match unit {
            1 => weave::<T, 1>(&columns, &starts, length, panel),
            2 => weave::<T, 2>(&columns, &starts, length, panel),
            _ => weave::<T, 4>(&columns, &starts, length, panel),
        }
        results
    }
}

/// Takes a unit of `UNIT` values of each column in turn. Columns begin at `starts` and are `length` values long.
fn weave<T: Copy, const UNIT: usize>(
    columns: &[T],
    starts: &[usize],
    length: usize,
    panel: &mut [T],
) {
    let (places, _) = panel.as_chunks_mut::<UNIT>();
    for (i, side_by_side) in places.chunks_exact_mut(starts.len()).enumerate() {
        for (place, start) in side_by_side.iter_mut().zip(starts) {
            place.copy_from_slice(&columns[start + i * UNIT..][..UNIT]);
        }
    }
    debug_assert_eq!(places.len(), starts.len() * length / UNIT);
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
