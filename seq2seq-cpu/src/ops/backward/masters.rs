//! The matrices that a layer is packed from, and operands of gradients, by blocks.

use crate::gemm::Source;
use crate::memory::Tensor;
use seq2seq_core::{Rows, train::MasterPart, train::Masters};
use std::ops::Range;

/// Some rows and columns of `x`, into rows of `out` that are `stride` values apart.
#[inline]
fn straight(x: &Tensor, rows: Range<usize>, columns: Range<usize>, out: &mut [f32], stride: usize) {
    for (row, out) in rows.zip(out.chunks_mut(stride)) {
        let (from, _) = x.row(row)[columns.clone()].as_chunks::<8>();
        let (to, rest) = out[..columns.len()].as_chunks_mut::<8>();
        // Eight at a time, as copies of a length that is not known are calls.
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        let tail = columns.end - rest.len()..columns.end;
        rest.copy_from_slice(&x.row(row)[tail]);
    }
}

/// The same turned: rows of `x` are columns of `out`.
#[inline]
fn turned(x: &Tensor, rows: Range<usize>, columns: Range<usize>, out: &mut [f32], stride: usize) {
    for (column, row) in rows.enumerate() {
        let values = &x.row(row)[columns.clone()];
        for (out, &value) in out.chunks_mut(stride).zip(values) {
            out[column] = value;
        }
    }
}

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

    fn read(&self, steps: Range<usize>, columns: Range<usize>, out: &mut [f32], stride: usize) {
        let first = self.columns.start;
        straight(self.x, steps, first + columns.start..first + columns.end, out, stride);
    }
}

/// The matrices of a layer, one below the other: `[product, in]`.
pub(super) struct Stacked<'a> {
    parts: &'a [MasterPart<'a, Tensor>],
    input: usize,
    product: usize,
}

impl<'a> Stacked<'a> {
    pub(super) fn new(masters: &'a Masters<'a, Tensor>, input: usize) -> Self {
        let product = masters.parts.iter().map(outputs).sum();
        Self { parts: &masters.parts, input, product }
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

/// x · Wᵀ: a step of the reduction is an input.
pub(super) struct Forward<'a>(pub(super) &'a Stacked<'a>);

impl Source for Forward<'_> {
    fn steps(&self) -> usize {
        self.0.input
    }

    fn columns(&self) -> usize {
        self.0.product
    }

    fn read(&self, steps: Range<usize>, columns: Range<usize>, out: &mut [f32], stride: usize) {
        self.0.parts_of(columns, |part, channels, at| match part.transposed {
            true => straight(part.weight, steps.clone(), channels, &mut out[at..], stride),
            false => turned(part.weight, channels, steps.clone(), &mut out[at..], stride),
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

    fn read(&self, steps: Range<usize>, columns: Range<usize>, out: &mut [f32], stride: usize) {
        let first = self.channels.start;
        self.stacked.parts_of(first + steps.start..first + steps.end, |part, channels, at| {
            let out = &mut out[at * stride..];
            match part.transposed {
                true => turned(part.weight, columns.clone(), channels, out, stride),
                false => straight(part.weight, channels, columns.clone(), out, stride),
            }
        });
    }
}
