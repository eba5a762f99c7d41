//! The matrices that a layer is packed from, and operands of gradients, by blocks.

use crate::gemm::Source;
use crate::isa::Isa;
use crate::kernels::backward::copy::{CopyPart, Part, TransposePart};
use crate::memory::Tensor;
use crate::simd::dispatch;
use seq2seq_core::{Rows, train::MasterPart};
use std::ops::Range;

/// Columns of a tensor: the rows of a batch are the steps of the reduction.
pub(super) struct Columns<'a> {
    pub(super) x: &'a Tensor,
    pub(super) columns: Range<usize>,
}

impl Source for Columns<'_> {
    fn steps(&self) -> usize {
        self.x.rows()
    }

    fn columns(&self) -> usize {
        self.columns.len()
    }

    fn read(
        &self,
        isa: Isa,
        steps: Range<usize>,
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let first = self.columns.start;
        let columns = first + columns.start..first + columns.end;
        dispatch(isa, CopyPart { from: Part::of(self.x, steps, columns), out, stride });
    }
}

/// The matrices of a layer, one below the other: `[product, in]`.
pub(super) struct Stacked<'a> {
    parts: &'a [MasterPart<'a, Tensor>],
    input: usize,
    product: usize,
}

impl<'a> Stacked<'a> {
    pub(super) fn new(parts: &'a [MasterPart<'a, Tensor>], input: usize) -> Self {
        let product = parts.iter().map(outputs).sum();
        Self { parts, input, product }
    }

    /// Calls `each` with the parts that have some of `channels`, which of theirs these are, and the place of the first.
    fn parts_of(
        &self,
        channels: Range<usize>,
        mut each: impl FnMut(&MasterPart<'a, Tensor>, Range<usize>, usize),
    ) {
        let mut first = 0;
        for part in self.parts {
            let own = first.max(channels.start)..channels.end.min(first + outputs(part));
            if !own.is_empty() {
                each(part, own.start - first..own.end - first, own.start - channels.start);
            }
            first += outputs(part);
        }
    }
}

/// Output channels of a part.
pub(super) fn outputs(part: &MasterPart<'_, Tensor>) -> usize {
    if part.transposed { part.weight.width() } else { part.weight.rows() }
}

/// Some channels and inputs of a part, into rows of `out` that are `stride` values apart: a row is a channel, or an input.
fn write(
    isa: Isa,
    part: &MasterPart<'_, Tensor>,
    [channels, inputs]: [Range<usize>; 2],
    by_channel: bool,
    (out, stride): (&mut [f32], usize),
) {
    let (rows, columns) = if part.transposed { (inputs, channels) } else { (channels, inputs) };
    let from = Part::of(part.weight, rows, columns);
    match part.transposed == by_channel {
        true => dispatch(isa, TransposePart { from, out, stride }),
        false => dispatch(isa, CopyPart { from, out, stride }),
    }
}

/// x · Wᵀ: a step of the reduction is an input.
pub(super) struct Forward<'a>(pub(super) &'a Stacked<'a>);

impl Source for Forward<'_> {
    fn steps(&self) -> usize {
        self.0.input
    }

    fn columns(&self) -> usize {
        self.0.product
    }

    fn read(
        &self,
        isa: Isa,
        steps: Range<usize>,
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        self.0.parts_of(columns, |part, channels, at| {
            write(isa, part, [channels, steps.clone()], false, (&mut out[at..], stride));
        });
    }
}

/// dz · W over some channels: a step of the reduction is an output.
pub(super) struct Back<'a> {
    pub(super) stacked: &'a Stacked<'a>,
    pub(super) channels: Range<usize>,
}

impl Source for Back<'_> {
    fn steps(&self) -> usize {
        self.channels.len()
    }

    fn columns(&self) -> usize {
        self.stacked.input
    }

    fn read(
        &self,
        isa: Isa,
        steps: Range<usize>,
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let first = self.channels.start;
        self.stacked.parts_of(first + steps.start..first + steps.end, |part, channels, at| {
            write(isa, part, [channels, columns.clone()], true, (&mut out[at * stride..], stride));
        });
    }
}
