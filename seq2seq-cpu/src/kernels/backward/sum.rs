//! Sums over rows, and along one.

use crate::memory::{For, Tensor, prefetch_run};
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// out += factor · x
pub(crate) struct AddScaled<'a> {
    pub(crate) out: &'a mut [f32],
    pub(crate) x: &'a [f32],
    pub(crate) factor: f32,
}

impl Kernel for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { out, x, factor } = self;
        out.iter_mut().zip(x).for_each(|(out, x)| *out += factor * x);
    }
}

/// out = kept · out + factor · x
pub(crate) struct Mix<'a> {
    pub(crate) out: &'a mut [f32],
    pub(crate) kept: f32,
    pub(crate) x: &'a [f32],
    pub(crate) factor: f32,
}

impl Kernel for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { out, kept, x, factor } = self;
        out.iter_mut().zip(x).for_each(|(out, x)| *out = kept * *out + factor * x);
    }
}

/// Columns `columns` of all rows, from the first to the last. What is a few rows below is asked for: a run of a row is short, and the
/// next is far.
#[inline(always)]
fn runs(x: &Tensor, columns: Range<usize>) -> impl Iterator<Item = &[f32]> {
    const AHEAD: usize = 8;
    let stride = x.stride();
    x.values().chunks(stride).map(move |row| {
        let run = &row[columns.clone()];
        prefetch_run(run.as_ptr().wrapping_add(AHEAD * stride), run.len(), For::Reading);
        run
    })
}

/// out += the sum of columns `columns` over all rows, from the first to the last.
pub(crate) struct ColumnSums<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) columns: Range<usize>,
    pub(crate) out: &'a mut [f32],
}

impl Kernel for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for run in runs(self.x, self.columns) {
            self.out.iter_mut().zip(run).for_each(|(out, x)| *out += x);
        }
    }
}

/// out += the sum of the squares of columns `columns` over all rows, from the first to the last.
pub(crate) struct ColumnSquares<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) columns: Range<usize>,
    pub(crate) out: &'a mut [f64],
}

impl Kernel for ColumnSquares<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for run in runs(self.x, self.columns) {
            self.out.iter_mut().zip(run).for_each(|(out, &x)| *out += square(x));
        }
    }
}

/// x², exact.
#[inline(always)]
fn square(x: f32) -> f64 {
    f64::from(x) * f64::from(x)
}

/// Σ x², in 8 sums of f64 that are added from the first to the last.
pub(crate) struct Squares<'a>(pub(crate) &'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0f64; 8];
        let (whole, rest) = self.0.as_chunks::<8>();
        for part in whole {
            sums.iter_mut().zip(part).for_each(|(sum, &x)| *sum += square(x));
        }
        sums.iter_mut().zip(rest).for_each(|(sum, &x)| *sum += square(x));
        sums.iter().sum()
    }
}

/// The halves added until one sum is left.
#[inline(always)]
pub(super) fn fold(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}
