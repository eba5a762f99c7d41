//! Products of tensors, or of columns of them, with what is packed.

use crate::gemm::{self, Converted, Element, LhsRows, Linear, Residual};
use crate::kernels::backward::copy::{Part, TransposePart};
use crate::memory::{Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::{Rows, train::Gradient};
use std::ops::Range;

/// Columns as rows.
pub(super) fn turned(cpu: &Cpu, x: &Tensor, columns: Range<usize>) -> Tensor {
    const ROWS: usize = 16;
    let mut out = Tensor::scratch(columns.len(), x.rows());
    let (stride, rows) = (out.stride(), x.rows());
    let chunks = Chunks::new(out.values_mut(), ROWS * stride);
    cpu.threads().each_part(chunks, 2 * ROWS * rows, |i, out| {
        let first = columns.start + i * ROWS;
        let columns = first..(first + out.len() / stride).min(columns.end);
        dispatch(cpu.isa(), TransposePart { from: Part::of(x, 0..rows, columns), out, stride });
    });
    out
}

/// Rows of f32 that are multiplied.
pub(super) struct Operand<'a> {
    /// The first row begins here.
    values: &'a [f32],
    stride: usize,
    rows: usize,
    width: usize,
}

impl<'a> Operand<'a> {
    /// Columns of a tensor.
    pub(super) fn of(x: &'a Tensor, columns: Range<usize>) -> Self {
        // Without rows there are no values.
        let values = x.values().get(columns.start..).unwrap_or_default();
        Self { values, stride: x.stride(), rows: x.rows(), width: columns.len() }
    }

    /// x · layer + residual, into rows that are `stride` apart.
    pub(super) fn multiply(
        &self,
        cpu: &Cpu,
        layer: &Linear,
        residual: Option<Residual<'_>>,
        (out, stride): (&mut [f32], usize),
    ) {
        let element = layer.element();
        let convert = || {
            let (values, size) = ((self.values, self.stride), (self.rows, self.width));
            Converted::new(cpu.threads(), layer.isa(), element, values, size)
        };
        let converted = (element != Element::F32).then(convert);
        let rows = match &converted {
            None => LhsRows::f32(self.values, self.stride),
            Some(converted) => converted.rows(),
        };
        let epilogue = gemm::Epilogue { activation: None, residual, converted: converted.as_ref() };
        layer.multiply(cpu.threads(), self.rows, rows, &epilogue, (out, stride));
    }

    /// x · layer, added to `held` where there is something. There are rows.
    pub(super) fn add_product(&self, cpu: &Cpu, layer: &Linear, held: &mut Gradient<Tensor>) {
        let before = held.take();
        let mut out = Tensor::scratch(self.rows, layer.shape().output);
        let stride = out.stride();
        let before = before.as_ref().map(|x| residual(x, 0));
        self.multiply(cpu, layer, before, (out.values_mut(), stride));
        *held = Some(out);
    }
}

/// A tensor from row `row` on, to be added.
pub(super) fn residual(x: &Tensor, row: usize) -> Residual<'_> {
    Residual { data: &x.values()[row * x.stride()..], stride: x.stride() }
}
