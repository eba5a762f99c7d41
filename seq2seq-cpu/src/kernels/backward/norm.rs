//! The way back of LayerNorm and RMSNorm.
//!
//! With x̂ = (x - mean) r and g = dy · weight: dx = r (g - mean(g) - x̂ mean(g x̂)), in RMSNorm without the means of x and
//! g. Mean and r are found again, and kept for the sums over rows that the weights' gradients are.

use crate::kernels::norm::{self, Norm};
use crate::memory::Tensor;
use crate::simd::{Kernel, Simd};
use seq2seq_core::{NormKind, Rows};
use std::ops::Range;

/// One run of columns of dx, added to what `dx` holds where `add` is set; gives mean and r.
pub(crate) struct Run<'a> {
    pub(crate) norm: &'a Norm,
    pub(crate) x: &'a [f32],
    pub(crate) dy: &'a [f32],
    pub(crate) dx: Option<&'a mut [f32]>,
    pub(crate) add: bool,
}

impl Kernel for Run<'_> {
    type Output = [f32; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; 2] {
        let Self { norm, x, dy, dx, add } = self;
        let count = x.len() as f32;
        let layer = norm.kind == NormKind::Layer;
        let [mean, r] = norm::moments(s, norm, x);
        let Some(dx) = dx else { return [mean, r] };
        let (dx, weight) = (&mut dx[..x.len()], &norm.weight[..x.len()]);
        let (mut along, mut shift) = ([0.0f32; 16], [0.0f32; 16]);
        let wide = x.len() / 16 * 16;
        for at in (0..wide).step_by(16) {
            for lane in 0..16 {
                let g = dy[at + lane] * weight[at + lane];
                along[lane] += g * ((x[at + lane] - mean) * r);
                shift[lane] += g;
            }
        }
        for at in wide..x.len() {
            let g = dy[at] * weight[at];
            along[at - wide] += g * ((x[at] - mean) * r);
            shift[at - wide] += g;
        }
        let along = fold(along) / count;
        let shift = if layer { fold(shift) / count } else { 0.0 };
        for (((dx, &x), &dy), &w) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
            let hat = (x - mean) * r;
            let value = (dy * w - shift - hat * along) * r;
            *dx = if add { *dx + value } else { value };
        }
        [mean, r]
    }
}

/// The halves added until one sum is left.
#[inline(always)]
fn fold(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// Columns `columns` of the gradients of weight and bias, each added to what there is, over all runs in order.
pub(crate) struct Columns<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) dy: &'a Tensor,
    /// Columns of a run, which divide those of x.
    pub(crate) width: usize,
    /// Mean and r of each run.
    pub(crate) moments: &'a [f32],
    pub(crate) columns: Range<usize>,
    pub(crate) weight: Option<&'a mut [f32]>,
    pub(crate) bias: Option<&'a mut [f32]>,
}

impl Kernel for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { x, dy, width, moments, columns, weight, bias } = self;
        let runs = x.width() / width;
        if let Some(weight) = weight {
            for (run, moments) in moments.chunks(2).enumerate() {
                let (mean, r) = (moments[0], moments[1]);
                let (row, columns) = place(&columns, run, runs, width);
                let (x, dy) = (&x.row(row)[columns.clone()], &dy.row(row)[columns]);
                for ((out, x), dy) in weight.iter_mut().zip(x).zip(dy) {
                    *out += dy * ((x - mean) * r);
                }
            }
        }
        if let Some(bias) = bias {
            for run in 0..moments.len() / 2 {
                let (row, columns) = place(&columns, run, runs, width);
                let dy = &dy.row(row)[columns];
                bias.iter_mut().zip(dy).for_each(|(out, dy)| *out += dy);
            }
        }
    }
}

/// The row that a run is of, where rows have `runs` of them, and some columns of the run as columns of the row.
#[inline(always)]
fn place(columns: &Range<usize>, run: usize, runs: usize, width: usize) -> (usize, Range<usize>) {
    let begin = run % runs * width;
    (run / runs, begin + columns.start..begin + columns.end)
}
