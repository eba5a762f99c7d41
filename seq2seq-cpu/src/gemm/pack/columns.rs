//! The columns of one panel, each in one piece.

use super::{Run, Source, codes_of};
use crate::{
    gemm::micro::MAX_COLUMNS,
    isa::Isa,
    kernels::backward::copy::{Part, TransposePart},
    memory::Buffer,
    simd::dispatch,
};
use bytemuck::{Pod, cast_slice, try_cast_slice};
use seq2seq_core::{DType, HostTensor};

/// Values from one column to the next: odd multiples of a cache line. Columns that begin a multiple of 4096 bytes apart would share
/// few lines of the first cache when they are read side by side.
pub(super) fn stride(length: usize) -> usize {
    length.next_multiple_of(32) + 16
}

/// Rows of a transposed part that are read at a time where they are no f32 in place.
const LINES: usize = 32;

/// What columns are read as: f32, bits of f16, or int8.
pub(super) trait Element: Pod {
    /// Reads elements of a tensor, from `start` on.
    fn read(tensor: &HostTensor, start: usize, out: &mut [Self]);

    /// All elements of a tensor, where they lie in memory as they are read.
    fn in_place(tensor: &HostTensor) -> Option<&[Self]>;

    /// Writes the columns of `rows` rows as rows that are `stride` values apart. Rows are `from.1` values apart.
    fn turn(
        _: Isa,
        (values, stride): (&[Self], usize),
        (rows, columns): (usize, usize),
        (out, out_stride): (&mut [Self], usize),
    ) {
        for (row, values) in values.chunks(stride).take(rows).enumerate() {
            for (column, &value) in values[..columns].iter().enumerate() {
                out[column * out_stride + row] = value;
            }
        }
    }
}

impl Element for f32 {
    fn read(tensor: &HostTensor, start: usize, out: &mut [f32]) {
        tensor.read_f32(start, out);
    }

    fn in_place(tensor: &HostTensor) -> Option<&[f32]> {
        let plain = tensor.dtype() == DType::F32 && tensor.quantisation().is_none();
        let plain = plain && cfg!(target_endian = "little");
        plain.then(|| try_cast_slice(tensor.bytes()).ok()).flatten()
    }

    fn turn(
        isa: Isa,
        (values, stride): (&[f32], usize),
        (rows, columns): (usize, usize),
        (out, out_stride): (&mut [f32], usize),
    ) {
        let from = Part { values, stride, rows, columns };
        dispatch(isa, TransposePart { from, out, stride: out_stride });
    }
}

impl Element for u16 {
    fn read(tensor: &HostTensor, start: usize, out: &mut [u16]) {
        let (bits, _) = tensor.bytes()[2 * start..].as_chunks();
        out.iter_mut().zip(bits).for_each(|(out, &bits)| *out = u16::from_le_bytes(bits));
    }

    fn in_place(_: &HostTensor) -> Option<&[u16]> {
        None
    }
}

impl Element for i8 {
    fn read(tensor: &HostTensor, start: usize, out: &mut [i8]) {
        out.copy_from_slice(&cast_slice(tensor.bytes())[start..start + out.len()]);
    }

    fn in_place(tensor: &HostTensor) -> Option<&[i8]> {
        Some(cast_slice(tensor.bytes()))
    }
}

/// The columns of a panel: where they lie in the source, or copied.
pub(super) struct Columns<'a, S: Pod> {
    in_place: [Option<&'a [S]>; MAX_COLUMNS],
    copies: Buffer<S>,
    stride: usize,
    length: usize,
}

impl<'a, S: Element> Columns<'a, S> {
    /// The columns of `panel`, of `length` values; behind the input there are zeros, and nothing else in columns that lie beyond the
    /// matrix, or of which there are codes: those are no numbers to be read.
    pub(super) fn stage(isa: Isa, source: &Source<'a>, panel: usize, length: usize) -> Self {
        let (input, stride) = (source.shape.input, stride(length));
        let mut in_place = [None; MAX_COLUMNS];
        let mut copies = Buffer::scratch(source.columns * stride);
        let mut copied = [false; MAX_COLUMNS];
        for run in source.runs(panel).filter(|run| codes_of(run).is_none()) {
            let columns = run.column..run.column + run.outputs.len();
            let values = S::in_place(&run.part.weight);
            if let (Some(values), false, true) = (values, run.part.transposed, input == length) {
                let values = values[run.outputs.start * input..].chunks_exact(input);
                in_place[columns].iter_mut().zip(values).for_each(|(c, v)| *c = Some(v));
                continue;
            }
            copied[columns.clone()].fill(true);
            let out = &mut copies[run.column * stride..];
            match (run.part.transposed, values) {
                (false, _) => {
                    for (output, out) in run.outputs.clone().zip(out.chunks_mut(stride)) {
                        S::read(&run.part.weight, output * input, &mut out[..input]);
                    }
                }
                (true, Some(values)) => {
                    let (outputs, first) = (run.part.weight.shape()[1], run.outputs.start);
                    let size = (input, run.outputs.len());
                    S::turn(isa, (&values[first..], outputs), size, (out, stride));
                }
                (true, None) => turn_lines(isa, &run, input, (out, stride)),
            }
        }
        for (c, copy) in copies.chunks_exact_mut(stride).enumerate() {
            if in_place[c].is_none() {
                copy[if copied[c] { input } else { 0 }..length].fill(S::zeroed());
            }
        }
        Self { in_place, copies, stride, length }
    }

    pub(super) fn column(&self, c: usize) -> &[S] {
        self.in_place[c].unwrap_or_else(|| &self.copies[c * self.stride..][..self.length])
    }
}

/// Turns the columns of a transposed part whose rows have to be read, some rows at a time.
fn turn_lines<S: Element>(isa: Isa, run: &Run<'_>, input: usize, (out, stride): (&mut [S], usize)) {
    let (weight, count) = (&run.part.weight, run.outputs.len());
    let outputs = weight.shape()[1];
    let mut lines = [S::zeroed(); LINES * MAX_COLUMNS];
    for top in (0..input).step_by(LINES) {
        let rows = LINES.min(input - top);
        for (k, line) in (top..input).zip(lines.chunks_exact_mut(count)).take(rows) {
            S::read(weight, k * outputs + run.outputs.start, line);
        }
        S::turn(isa, (&lines, count), (rows, count), (&mut out[top..], stride));
    }
}
