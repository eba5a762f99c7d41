//! Activations.

use super::Buffer;
use crate::gemm::{Converted, Element};
use seq2seq_core::Rows;
use std::sync::OnceLock;

/// Values between the end of a row and the next: whole vectors may be written past the width, and rows of a width that is a
/// power of two do not all fall on the same lines of the first cache.
const GAP: usize = 16;

/// Packed rows, `[N, width]`.
///
/// Row r begins at `r · stride`. Nothing is known of the values between its width and the next row, and nothing may
/// depend on them.
#[derive(Debug)]
pub struct Tensor {
    rows: usize,
    width: usize,
    stride: usize,
    values: Buffer<f32>,
    /// The rows as a linear layer in bf16 reads them, made by the first one; likewise in int8 or int4.
    rounded: OnceLock<Converted>,
    quantised: OnceLock<Converted>,
}

impl Tensor {
    /// Rows of unknown values, all of which the caller writes.
    pub(crate) fn scratch(rows: usize, width: usize) -> Self {
        let stride = width.next_multiple_of(16) + GAP;
        let values = Buffer::scratch(rows * stride);
        Self { rows, width, stride, values, rounded: OnceLock::new(), quantised: OnceLock::new() }
    }

    /// The distance from one row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Row `i`, `width` values.
    pub(crate) fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.stride..][..self.width]
    }

    /// All rows, `stride` apart.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// All rows, `stride` apart, to be written.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        self.rounded.take();
        self.quantised.take();
        &mut self.values
    }

    /// Where the rows are kept once they have been converted to `element`, which is not f32.
    pub(crate) fn converted(&self, element: Element) -> &OnceLock<Converted> {
        match element {
            Element::F32 | Element::Rounded | Element::Bf16 => &self.rounded,
            Element::U8 | Element::I8 | Element::I16 => &self.quantised,
        }
    }
}

impl Rows for Tensor {
    fn rows(&self) -> usize {
        self.rows
    }

    fn width(&self) -> usize {
        self.width
    }
}
