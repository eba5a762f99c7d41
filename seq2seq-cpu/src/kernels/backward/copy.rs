//! Copies of a part of a matrix, straight and turned.
//!
//! Rows of a part are short and far apart, so the processor does not see which line comes next: each copy asks for those of
//! the next part while it works, which a caller takes further down (straight) or to the right (turned).

use crate::memory::{For, Tensor, prefetch, prefetch_run};
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// Some rows and columns of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    /// Begins with the first value of the part.
    pub(crate) values: &'a [f32],
    /// Values from row to row.
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl<'a> Part<'a> {
    /// Rows and columns of a tensor.
    #[inline]
    pub(crate) fn of(x: &'a Tensor, rows: Range<usize>, columns: Range<usize>) -> Self {
        let (stride, first) = (x.stride(), rows.start * x.stride() + columns.start);
        // Without rows there are no values.
        let values = x.values().get(first..).unwrap_or_default();
        Self { values, stride, rows: rows.len(), columns: columns.len() }
    }
}

/// Rows below that a straight copy asks for: two parts of 16.
const ROWS_AHEAD: usize = 32;

/// Columns to the right that a turned copy asks for: two parts of 16.
const COLUMNS_AHEAD: usize = 32;

/// Writes a part into rows that are `stride` values apart.
pub(crate) struct CopyPart<'a> {
    pub(crate) from: Part<'a>,
    pub(crate) out: &'a mut [f32],
    pub(crate) stride: usize,
}

impl Kernel for CopyPart<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Part { values, stride, rows, columns } = self.from;
        for row in 0..rows {
            let from = &values[row * stride..row * stride + columns];
            prefetch_run(from.as_ptr().wrapping_add(ROWS_AHEAD * stride), columns, For::Reading);
            let out = &mut self.out[row * self.stride..row * self.stride + columns];
            for at in (0..columns).step_by(S::LANES) {
                s.store_within(s.load_within(from, at), out, at);
            }
        }
    }
}

/// Writes the columns of a part as rows that are `stride` values apart.
pub(crate) struct TransposePart<'a> {
    pub(crate) from: Part<'a>,
    pub(crate) out: &'a mut [f32],
    pub(crate) stride: usize,
}

/// Columns that are turned while their lines lie in the first cache: a line of 16.
const COLUMNS: usize = 16;

impl Kernel for TransposePart<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Part { values, stride, rows, columns } = self.from;
        for left in (0..columns).step_by(COLUMNS) {
            let right = columns.min(left + COLUMNS);
            for top in (0..rows).step_by(S::LANES) {
                let bottom = rows.min(top + S::LANES);
                for first in (left..right).step_by(S::LANES) {
                    let last = right.min(first + S::LANES);
                    let from = &values[top * stride + first..];
                    let out = &mut self.out[first * self.stride + top..];
                    if last - first == S::LANES && bottom - top == S::LANES {
                        square(s, (from, stride), (out, self.stride));
                        continue;
                    }
                    for column in 0..last - first {
                        for row in 0..bottom - top {
                            out[column * self.stride + row] = from[row * stride + column];
                        }
                    }
                }
            }
        }
    }
}

/// As many rows as columns as a vector has lanes.
///
/// Rows i and i + LANES / 2 are interleaved, which gives rows 2 i and 2 i + 1; after log₂ LANES such rounds every row is a
/// column.
#[inline(always)]
fn square<S: Simd>(s: S, (from, stride): (&[f32], usize), (out, out_stride): (&mut [f32], usize)) {
    const MOST: usize = crate::simd::MAX_LANES;
    let mut rows = [s.zero(); MOST];
    for (i, row) in rows[..S::LANES].iter_mut().enumerate() {
        let from = &from[i * stride..];
        prefetch(from.as_ptr().wrapping_add(COLUMNS_AHEAD).cast(), For::ReadingLater);
        *row = s.load(from);
    }
    for _ in 0..S::LANES.ilog2() {
        let before = rows;
        for i in 0..S::LANES / 2 {
            [rows[2 * i], rows[2 * i + 1]] = s.interleave(before[i], before[i + S::LANES / 2]);
        }
    }
    for (i, row) in rows[..S::LANES].iter().enumerate() {
        s.store(*row, &mut out[i * out_stride..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, simd::dispatch};

    #[test]
    fn parts_are_copied_and_turned() {
        for (rows, columns) in [(1, 1), (3, 40), (16, 16), (37, 21), (64, 35), (5, 0), (0, 5)] {
            let (stride, wide, high) = (columns + 3, columns + 2, rows + 5);
            let values: Vec<f32> = (0..(rows + 1) * stride).map(|i| i as f32).collect();
            let from = Part { values: &values, stride, rows, columns };
            for isa in Isa::available() {
                let mut straight = vec![-1.0; (rows + 1) * wide];
                let mut turned = vec![-1.0; (columns + 1) * high];
                dispatch(isa, CopyPart { from, out: &mut straight, stride: wide });
                dispatch(isa, TransposePart { from, out: &mut turned, stride: high });
                for (i, value) in straight.iter().enumerate() {
                    let (row, column) = (i / wide, i % wide);
                    let inside = row < rows && column < columns;
                    let want = if inside { values[row * stride + column] } else { -1.0 };
                    assert_eq!(*value, want, "{isa}, copy of {rows} by {columns}");
                }
                for (i, value) in turned.iter().enumerate() {
                    let (column, row) = (i / high, i % high);
                    let inside = row < rows && column < columns;
                    let want = if inside { values[row * stride + column] } else { -1.0 };
                    assert_eq!(*value, want, "{isa}, {rows} by {columns} turned");
                }
            }
        }
    }
}
