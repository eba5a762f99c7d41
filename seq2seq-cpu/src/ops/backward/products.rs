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

/// Rows that are multiplied.
pub(super) struct Operand<'a> {
    rows: usize,
    values: Values<'a>,
}

enum Values<'a> {
    /// The first row begins here; from row to row; values of a row.
    Held(&'a [f32], usize, usize),
    /// Columns of a tensor as rows.
    Turned(Tensor),
    /// The same, in the element type of the layer.
    Converted(Converted),
}

impl<'a> Operand<'a> {
    /// Columns of a tensor.
    pub(super) fn of(x: &'a Tensor, columns: Range<usize>) -> Self {
        // Without rows there are no values.
        let values = x.values().get(columns.start..).unwrap_or_default();
        Self { rows: x.rows(), values: Values::Held(values, x.stride(), columns.len()) }
    }

    /// Columns of a tensor as rows, for layers that multiply elements of this type.
    pub(super) fn turned(cpu: &Cpu, element: Element, x: &Tensor, columns: Range<usize>) -> Self {
        let rows = columns.len();
        let values = match element {
            Element::F32 => Values::Turned(turned(cpu, x, columns)),
            _ => {
                let (threads, isa) = (cpu.threads(), cpu.isa());
                Values::Converted(Converted::columns(threads, isa, element, x, columns))
            }
        };
        Self { rows, values }
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
        let made;
        let (rows, converted) = match &self.values {
            Values::Held(values, stride, _) if element == Element::F32 => {
                (LhsRows::f32(values, *stride), None)
            }
            Values::Held(values, stride, width) => {
                let (values, size) = ((*values, *stride), (self.rows, *width));
                made = Converted::new(cpu.threads(), layer.isa(), element, values, size);
                (made.rows(), Some(&made))
            }
            Values::Turned(x) => (LhsRows::f32(x.values(), x.stride()), None),
            Values::Converted(x) => (x.rows(), Some(x)),
        };
        assert_eq!(converted.map_or(Element::F32, Converted::element), element);
        let epilogue = gemm::Epilogue { activation: None, residual, converted };
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
