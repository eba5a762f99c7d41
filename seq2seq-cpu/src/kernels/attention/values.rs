//! Sums of values, weighted by the exponentials of the scores.

use super::Vectors;
use crate::simd::Simd;
use crate::simd::words::Words;
use std::ops::Range;

/// Rows of a tile where there are as many.
const ROWS: usize = 4;

/// A run of values: positions `start..end`, `start` the first of a word.
pub(super) struct Run<'a> {
    pub(super) rows: &'a [f32],
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Adds to the sums `[R][stride]` of each vector the values of a run, as far as the vector sees: sum += exps\[r\]\[position\]
/// · value, over rising position. `exps` are packed, in rows that begin `span` apart.
#[inline(always)]
pub(super) fn add<S: Simd, W: Words<S>>(
    (s, w): (S, W),
    (exps, span): (&[f32], usize),
    run: &Run<'_>,
    vectors: Vectors,
    (sums, stride): (&mut [f32], usize),
) {
    let (start, end) = (run.start, run.end);
    assert!(end <= span && exps.len() >= vectors.count * span);
    assert!(sums.len() >= vectors.count * stride && stride % S::LANES == 0);
    assert!(run.rows.len() >= (end - start).div_ceil(W::NUMBERS) * stride);
    let start = start / W::NUMBERS;
    let mut tiles = Tiles { exps, span, start, rows: run.rows, sums, stride };
    let mut r = vectors.seeing(run.start).min(vectors.count);
    while r < vectors.count {
        let count = if r + ROWS <= vectors.count { ROWS } else { 1 };
        // The words that all rows of the tile see, then what is left to each: a value beyond a vector's limit may be
        // infinite, so that 0 times it would not be nothing.
        let common = vectors.limit(r).min(end) / W::NUMBERS;
        // SAFETY: words lie in the run, vectors below `count`; the sizes were checked above.
        unsafe {
            match count {
                ROWS => tiles.columns::<S, W, ROWS>((s, w), r, start..common, false),
                _ => tiles.columns::<S, W, 1>((s, w), r, start..common, false),
            }
            for r in r..r + count {
                let limit = vectors.limit(r).min(end);
                let whole = limit / W::NUMBERS;
                if whole > common {
                    tiles.columns::<S, W, 1>((s, w), r, common..whole, false);
                }
                if limit % W::NUMBERS > 0 {
                    tiles.columns::<S, W, 1>((s, w), r, whole..whole + 1, true);
                }
            }
        }
        r += count;
    }
}

struct Tiles<'a> {
    exps: &'a [f32],
    span: usize,
    /// The first word of the run.
    start: usize,
    rows: &'a [f32],
    sums: &'a mut [f32],
    stride: usize,
}

impl Tiles<'_> {
    /// All columns of vectors `r` to `r + R - 1`; of each word of values all numbers, or `first` only.
    ///
    /// # Safety
    /// `words` lie in the run, and there are exponentials for them; each vector has `span` exponentials and `stride` sums,
    /// and `stride` is a multiple of the lanes.
    #[inline(always)]
    unsafe fn columns<S: Simd, W: Words<S>, const R: usize>(
        &mut self,
        (s, w): (S, W),
        r: usize,
        words: Range<usize>,
        first: bool,
    ) {
        let mut column = 0;
        // SAFETY: each tile ends at or before `stride`.
        unsafe {
            // One vector waits for its own sums: eight at once fill the time.
            while R == 1 && S::LANES <= 8 && column + 8 * S::LANES <= self.stride {
                self.tile::<S, W, R, 8>((s, w), (r, column), words.clone(), first);
                column += 8 * S::LANES;
            }
            while (R == 1 || S::LANES != 8) && column + 4 * S::LANES <= self.stride {
                self.tile::<S, W, R, 4>((s, w), (r, column), words.clone(), first);
                column += 4 * S::LANES;
            }
            while column + 2 * S::LANES <= self.stride {
                self.tile::<S, W, R, 2>((s, w), (r, column), words.clone(), first);
                column += 2 * S::LANES;
            }
            while column < self.stride {
                self.tile::<S, W, R, 1>((s, w), (r, column), words.clone(), first);
                column += S::LANES;
            }
        }
    }

    /// # Safety
    /// As for [`columns`](Self::columns), and `V` vectors of lanes from `column` on lie within `stride`.
    #[inline(always)]
    unsafe fn tile<S: Simd, W: Words<S>, const R: usize, const V: usize>(
        &mut self,
        (s, w): (S, W),
        (r, column): (usize, usize),
        words: Range<usize>,
        first: bool,
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
            for word in words {
                let at = self.rows.as_ptr().add((word - self.start) * self.stride + column);
                let mut values = [s.zero(); V];
                for (v, value) in values.iter_mut().enumerate() {
                    *value = s.load_at(at.add(v * S::LANES));
                    if first {
                        *value = w.first(s, *value);
                    }
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let e = s.splat(*exps.add(row * self.span + word));
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = w.multiply_add(s, e, value, *sum);
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
