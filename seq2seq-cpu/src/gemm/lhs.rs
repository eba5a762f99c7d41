//! Activations in the element type that a kernel reads.

use super::micro::LhsRows;
use crate::{
    isa::Isa,
    kernels::{quantise::quantise, round::round},
    memory::{Buffer, Chunks},
    threads::Threads,
};
use bytemuck::{cast_slice, cast_slice_mut, from_bytes, from_bytes_mut};

const SCALE_BYTES: usize = size_of::<f32>();

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
    /// int8 with 128 added.
    U8,
    /// int8
    I8,
    /// int8 in 16 bits.
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

    /// Whether each row has a scale.
    fn is_integer(self) -> bool {
        matches!(self, Self::U8 | Self::I8 | Self::I16)
    }
}

/// Rows converted to an element type.
#[derive(Debug)]
pub(crate) struct Converted {
    element: Element,
    /// Rows of `stride` bytes: the elements, zeros, and in the last four bytes the scale of an integer row.
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
        // Room for whole units of any kernel and for the scale, and rows that do not begin a multiple of 4096 bytes
        // apart, as they would crowd the same lines of the first cache.
        let stride = (width * element.size()).next_multiple_of(64) + 64;
        let mut data = Buffer::<u8>::scratch(rows * stride);
        threads.each_part(Chunks::new(&mut data, stride), width, |row, out| {
            convert(isa, element, &x[row * x_stride..][..width], out);
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
    pub(super) fn scale(&self, row: usize) -> f32 {
        if !self.element.is_integer() {
            return 1.0;
        }
        *from_bytes(&self.data[(row + 1) * self.stride - SCALE_BYTES..][..SCALE_BYTES])
    }
}

/// Converts one row; `out` is a row of [`Converted`].
fn convert(isa: Isa, element: Element, x: &[f32], out: &mut [u8]) {
    let at = out.len() - SCALE_BYTES;
    let (values, scale) = out.split_at_mut(at);
    let (values, padding) = values.split_at_mut(x.len() * element.size());
    padding.fill(0);
    let row_scale = match element {
        Element::F32 => {
            values.copy_from_slice(cast_slice(x));
            1.0
        }
        Element::Rounded => {
            round::<f32>(isa, x, cast_slice_mut(values));
            1.0
        }
        Element::Bf16 => {
            round::<u16>(isa, x, cast_slice_mut(values));
            1.0
        }
        Element::U8 => quantise::<u8>(isa, x, values),
        Element::I8 => quantise::<i8>(isa, x, cast_slice_mut(values)),
        Element::I16 => quantise::<i16>(isa, x, cast_slice_mut(values)),
    };
    *from_bytes_mut(scale) = row_scale;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_scale_and_are_filled_with_zeros() {
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
                    let largest = values.iter().fold(0.0, |a: f32, v| a.max(v.abs()));
                    let want = if element.is_integer() { largest / 127.0 } else { 1.0 };
                    assert_eq!(many.scale(row), want);
                    let bytes = &many.rows().bytes[row * many.stride..][..many.stride];
                    let end = (width + 3) * element.size();
                    assert!(bytes[width * element.size()..end].iter().all(|&b| b == 0));
                }
                assert_eq!(of(1).data[..], many.data[..many.stride], "{isa} {element:?}");
            }
        }
    }
}
