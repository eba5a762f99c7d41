//! Sums of values, weighted by the exponentials of the scores.

use super::Vectors;
use crate::simd::Simd;
use std::ops::Range;

/// Rows of a tile where there are as many.
const ROWS: usize = 4;

/// Adds to the sums `[R][stride]` of each vector the run of value rows that begins at position `start`, as far as the
/// vector sees: sum += exps\[r\]\[position\] · row, over rising position.
#[inline(always)]
pub(super) fn add<S: Simd>(
    s: S,
    (exps, span): (&[f32], usize),
    start: usize,
    rows: &[f32],
    vectors: Vectors,
    (sums, stride): (&mut [f32], usize),
) {
    let end = start + rows.len() / stride;
    assert!(end <= span && exps.len() >= vectors.count * span);
    assert!(sums.len() >= vectors.count * stride && stride % S::LANES == 0);
    let mut tiles = Tiles { exps, span, start, rows, sums, stride };
    let mut r = vectors.seeing(start).min(vectors.count);
    while r < vectors.count {
        let count = if r + ROWS <= vectors.count { ROWS } else { 1 };
        // What all rows of the tile see, then what only the later ones see: a value beyond a vector's limit may be
        // infinite, so that 0 times it would not be nothing.
        let common = vectors.limit(r).min(end);
        // SAFETY: positions lie between `start` and `end`, vectors below `count`; the sizes were checked above.
        unsafe {
            match count {
                ROWS => tiles.columns::<S, ROWS>(s, r, start..common),
                _ => tiles.columns::<S, 1>(s, r, start..common),
            }
            for r in r + 1..r + count {
                let limit = vectors.limit(r).min(end);
                if limit > common {
                    tiles.columns::<S, 1>(s, r, common..limit);
                }
            }
        }
        r += count;
    }
}

struct Tiles<'a> {
    exps: &'a [f32],
    span: usize,
    start: usize,
    rows: &'a [f32],
    sums: &'a mut [f32],
    stride: usize,
}

impl Tiles<'_> {
    /// All columns of vectors `r` to `r + R - 1`.
    ///
    /// # Safety
    /// `positions` lie in the run and below `span`; each vector has `span` exponentials and `stride` sums, and `stride` is
    /// a multiple of the lanes.
    #[inline(always)]
    unsafe fn columns<S: Simd, const R: usize>(&mut self, s: S, r: usize, positions: Range<usize>) {
        let mut column = 0;
        // SAFETY: each tile ends at or before `stride`.
        unsafe {
            // One vector waits for its own sums: eight at once fill the time.
            while R == 1 && S::LANES <= 8 && column + 8 * S::LANES <= self.stride {
                self.tile::<S, R, 8>(s, r, positions.clone(), column);
                column += 8 * S::LANES;
            }
            while (R == 1 || S::LANES != 8) && column + 4 * S::LANES <= self.stride {
                self.tile::<S, R, 4>(s, r, positions.clone(), column);
                column += 4 * S::LANES;
            }
            while column + 2 * S::LANES <= self.stride {
                self.tile::<S, R, 2>(s, r, positions.clone(), column);
                column += 2 * S::LANES;
            }
            while column < self.stride {
                self.tile::<S, R, 1>(s, r, positions.clone(), column);
                column += S::LANES;
            }
        }
    }

    /// # Safety
    /// As for [`columns`](Self::columns), and `V` vectors of lanes from `column` on lie within `stride`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(
        &mut self,
        s: S,
        r: usize,
        positions: Range<usize>,
        column: usize,
    ) {
        let mut sums = [[s.zero(); V]; R];
        // SAFETY: the caller's promise, for each pointer.
        unsafe {
            let kept = self.sums.as_mut_ptr().add(r * self.stride + column);
            for (row, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = s.load_at(kept.add(row * self.stride + v * S::LANES));
                }
            }
            let exps = self.exps.as_ptr().add(r * self.span);
            for position in positions {
                let at = self.rows.as_ptr().add((position - self.start) * self.stride + column);
                let mut values = [s.zero(); V];
                for (v, value) in values.iter_mut().enumerate() {
                    *value = s.load_at(at.add(v * S::LANES));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let e = s.splat(*exps.add(row * self.span + position));
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = s.fma(e, value, *sum);
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    s.store_at(sum, kept.add(row * self.stride + v * S::LANES));
                }
            }
        }
    }
}
