//! Activations.

use super::{Buffer, Readers};
use crate::gemm::{Converted, Element};
use seq2seq_core::Rows;
use std::sync::{Arc, OnceLock};

/// Values between the end of a row and the next: whole vectors may be written past the width, and rows of a width that is a
/// power of two do not all fall on the same lines of the first cache.
const GAP: usize = 16;

/// Packed rows, `[N, width]`.
///
/// Row r begins at `r · stride`. Nothing is known of the values between its width and the next row, and nothing may
/// depend on them.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Rows};
/// use seq2seq_cpu::{Cpu, CpuOptions, Tensor};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let host = HostTensor::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// let x: Tensor = cpu.upload(&host)?;
/// assert_eq!((x.rows(), x.width()), (2, 3));
/// let turned = cpu.gather_rows(&x, &[1, 0])?;
/// assert_eq!(cpu.download(&turned)?, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]); // only the columns
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Tensor {
    rows: usize,
    width: usize,
    stride: usize,
    values: Buffer<f32>,
    /// The rows as a linear layer in bf16 reads them, made by the first one; likewise in int8 or int4.
    rounded: OnceLock<Converted>,
    quantised: OnceLock<Converted>,
    /// Who is told when rows have to be converted.
    readers: Option<Arc<Readers>>,
}

impl Tensor {
    /// Rows of unknown values, all of which the caller writes.
    pub(crate) fn scratch(rows: usize, width: usize) -> Self {
        let stride = width.next_multiple_of(16) + GAP;
        // What cannot be counted is more than there is memory, which is what the buffer then says.
        let values = Buffer::scratch(rows.saturating_mul(stride));
        let (rounded, quantised) = (OnceLock::new(), OnceLock::new());
        Self { rows, width, stride, values, rounded, quantised, readers: None }
    }

    /// As a result of what has these readers, with its rows as the last of them wanted them.
    pub(crate) fn for_readers(mut self, readers: &Arc<Readers>, rows: Option<Converted>) -> Self {
        if let Some(rows) = rows {
            self.converted(rows.element(), || rows);
        }
        self.readers = Some(readers.clone());
        self
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

    /// The rows in `element`, which is not f32: as kept, or as `convert` makes them, and then they are kept. They are in
    /// another type of the same kind where another level has been at the tensor before.
    pub(crate) fn converted(
        &self,
        element: Element,
        convert: impl FnOnce() -> Converted,
    ) -> &Converted {
        let kept = match element.is_integer() {
            true => &self.quantised,
            false => &self.rounded,
        };
        kept.get_or_init(|| {
            if let Some(readers) = &self.readers {
                readers.want(element);
            }
            convert()
        })
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
