//! Activations in the element type that a kernel reads.

use super::micro::LhsRows;
use crate::{
    isa::Isa,
    kernels::{
        backward::copy::{Part, TransposePart},
        quantise::quantise_row,
        round::round,
    },
    memory::{Buffer, Chunks, Tensor},
    simd,
    threads::Threads,
};
use bytemuck::{Pod, cast_slice, cast_slice_mut, from_bytes};
use seq2seq_core::Rows;
use std::ops::Range;

/// What stands behind the values of a row of integers, in its last bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tail {
    /// The integer that stands for 0.
    pub(crate) zero: i32,
    /// What the integers, less `zero`, are multiplied by.
    pub(crate) scale: f32,
}

impl Tail {
    /// Bytes of a tail: `zero`, then `scale`.
    pub(super) const BYTES: usize = 8;

    /// The tail of a row, of which these are the bytes.
    fn of(row: &[u8]) -> Self {
        let [zero, scale]: [u32; 2] = *from_bytes(&row[row.len() - Self::BYTES..]);
        Self { zero: zero.cast_signed(), scale: f32::from_bits(scale) }
    }

    /// Ends a row with it.
    pub(super) fn write(self, row: &mut [u8]) {
        let at = row.len() - Self::BYTES;
        let words = [self.zero.cast_unsigned(), self.scale.to_bits()];
        row[at..].copy_from_slice(cast_slice(&words));
    }
}

/// The type of the activations that a kernel multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// The other targets have kernels for some of them only.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) enum Element {
    /// As they are.
    F32,
    /// Rounded to bf16, held as f32.
    Rounded,
    /// bf16
    Bf16,
    /// Quantised, as [`quant::row`](seq2seq_core::quant::row) gives it.
    U8,
    /// Quantised, less 128.
    I8,
    /// Quantised, less the zero point, which takes 9 bits and a sign.
    I16,
}

impl Element {
    /// Bytes of one element.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::F32 | Self::Rounded => 4,
            Self::Bf16 | Self::I16 => 2,
            Self::U8 | Self::I8 => 1,
        }
    }

    /// Whether each row has a tail.
    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Self::U8 | Self::I8 | Self::I16)
    }
}

/// Rows converted to an element type.
#[derive(Debug)]
pub(crate) struct Converted {
    element: Element,
    /// Rows of `stride` bytes: the elements, zero bytes, and the tail of an integer row.
    data: Buffer<u8>,
    stride: usize,
}

impl Converted {
    /// Converts `rows` rows of `width` values that begin `x_stride` values apart.
    pub(crate) fn new(
        threads: &Threads,
        isa: Isa,
        element: Element,
        (x, x_stride): (&[f32], usize),
        (rows, width): (usize, usize),
    ) -> Self {
        let mut converted = Self::scratch(element, (rows, width));
        threads.each_part(converted.rows_mut(), width, |row, out| {
            convert(isa, element, &x[row * x_stride..][..width], out);
        });
        converted
    }

    /// Rows that the caller [`convert`]s.
    pub(crate) fn scratch(element: Element, (rows, width): (usize, usize)) -> Self {
        let stride = stride(element, width);
        Self { element, data: Buffer::scratch(rows * stride), stride }
    }

    /// The rows as values of this type, for a product that stores them, and the distance from one to the next. What stands
    /// behind the values of a row is unspecified.
    ///
    /// # Panics
    /// When it is not of the size of the element.
    pub(crate) fn values_mut<T: Pod>(&mut self) -> (&mut [T], usize) {
        assert_eq!(size_of::<T>(), self.element.size());
        (cast_slice_mut(&mut self.data), self.stride / size_of::<T>())
    }

    /// The rows, each for [`convert`].
    pub(crate) fn rows_mut(&mut self) -> Chunks<'_, u8> {
        Chunks::new(&mut self.data, self.stride)
    }

    /// Converts columns of a tensor, each to a row.
    pub(crate) fn columns(
        threads: &Threads,
        isa: Isa,
        element: Element,
        x: &Tensor,
        columns: Range<usize>,
    ) -> Self {
        /// Columns that are turned at once: a line of the tensor's rows. They stay in the second cache until they are
        /// converted.
        const AT_ONCE: usize = 16;
        let width = x.rows();
        let stride = stride(element, width);
        let mut data = Buffer::<u8>::scratch(columns.len() * stride);
        let chunks = Chunks::new(&mut data, AT_ONCE * stride);
        threads.each_part(chunks, 2 * AT_ONCE * width, |i, out| {
            let first = columns.start + i * AT_ONCE;
            let columns = first..(first + AT_ONCE).min(columns.end);
            let from = Part::of(x, 0..width, columns);
            let wide = width.next_multiple_of(16) + 16;
            let mut turned = Buffer::<f32>::scratch(from.columns * wide);
            simd::dispatch(isa, TransposePart { from, out: &mut turned, stride: wide });
            for (row, out) in turned.chunks_exact(wide).zip(out.chunks_exact_mut(stride)) {
                convert(isa, element, &row[..width], out);
            }
        });
        Self { element, data, stride }
    }

    /// What its rows were converted to.
    pub(crate) fn element(&self) -> Element {
        self.element
    }

    /// The rows, for a kernel that reads this element type.
    pub(crate) fn rows(&self) -> LhsRows<'_> {
        LhsRows { bytes: &self.data, stride: self.stride }
    }

    /// What the integers of `row` are multiplied by; 1 in another type.
    #[inline(always)]
    pub(super) fn scale(&self, row: usize) -> f32 {
        if !self.element.is_integer() {
            return 1.0;
        }
        Tail::of(&self.data[row * self.stride..][..self.stride]).scale
    }
}

/// Bytes from a row of `width` elements to the next: room for whole units of any kernel and for the tail, and rows that do not
/// begin a multiple of 4096 bytes apart, as they would crowd the same lines of the first cache.
fn stride(element: Element, width: usize) -> usize {
    (width * element.size()).next_multiple_of(64) + 64
}

/// Converts one row; `out` is a row of [`Converted`].
pub(crate) fn convert(isa: Isa, element: Element, x: &[f32], out: &mut [u8]) {
    let (values, padding) = out.split_at_mut(x.len() * element.size());
    padding.fill(0);
    let (zero, scale) = match element {
        Element::F32 => return values.copy_from_slice(cast_slice(x)),
        Element::Rounded => return round::<f32>(isa, x, cast_slice_mut(values)),
        Element::Bf16 => return round::<u16>(isa, x, cast_slice_mut(values)),
        Element::U8 => quantise_row::<u8>(isa, x, values),
        Element::I8 => quantise_row::<i8>(isa, x, cast_slice_mut(values)),
        Element::I16 => quantise_row::<i16>(isa, x, cast_slice_mut(values)),
    };
    Tail { zero, scale }.write(padding);
}

#[cfg(test)]
mod tests {
    use super::*;
    use seq2seq_core::quant::row::{Affine, extremes};

    #[test]
    fn columns_are_converted_as_the_rows_that_they_become() {
        let threads = Threads::new(Some(2)).unwrap();
        for (rows, width, columns) in [(70, 133, 5..133), (1, 16, 0..16), (33, 40, 20..21)] {
            let mut x = Tensor::scratch(rows, width);
            let values = x.values_mut().iter_mut().enumerate();
            values.for_each(|(i, v)| *v = (i % 997) as f32 / 31.0 - 16.0);
            let turned: Vec<f32> = columns
                .clone()
                .flat_map(|c| (0..rows).map(|r| x.row(r)[c]).collect::<Vec<_>>())
                .collect();
            for isa in Isa::available() {
                for element in [Element::Rounded, Element::Bf16, Element::U8] {
                    let size = (columns.len(), rows);
                    let want = Converted::new(&threads, isa, element, (&turned, rows), size);
                    let found = Converted::columns(&threads, isa, element, &x, columns.clone());
                    assert_eq!((found.stride, &found.data[..]), (want.stride, &want.data[..]));
                }
            }
        }
    }

    #[test]
    fn rows_keep_their_tail_and_are_filled_with_zeros() {
        let threads = Threads::new(Some(2)).unwrap();
        let (rows, width, x_stride) = (300, 33, 40);
        let x: Vec<f32> = (0..rows * x_stride).map(|i| (i % 61) as f32 - 30.0).collect();
        for isa in Isa::available() {
            let all = [Element::F32, Element::Rounded, Element::Bf16, Element::U8, Element::I8];
            for element in all.into_iter().chain([Element::I16]) {
                let of =
                    |rows| Converted::new(&threads, isa, element, (&x, x_stride), (rows, width));
                let many = of(rows);
                for row in 0..rows {
                    let values = &x[row * x_stride..][..width];
                    let affine = Affine::of(extremes(values));
                    let want = if element.is_integer() { affine.scale } else { 1.0 };
                    assert_eq!(many.scale(row), want);
                    let bytes = &many.rows().bytes[row * many.stride..][..many.stride];
                    let zero = match element {
                        Element::U8 => affine.zero,
                        Element::I8 => affine.zero - 128,
                        _ => 0,
                    };
                    if element.is_integer() {
                        assert_eq!(Tail::of(bytes).zero, zero, "{isa} {element:?}");
                    }
                    let end = (width + 3) * element.size();
                    assert!(bytes[width * element.size()..end].iter().all(|&b| b == 0));
                }
                assert_eq!(of(1).data[..], many.data[..many.stride], "{isa} {element:?}");
            }
        }
    }
}
