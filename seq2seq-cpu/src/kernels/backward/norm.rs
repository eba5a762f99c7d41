//! The way back of LayerNorm and RMSNorm.
//!
//! With x̂ = (x - mean) r and g = dy · weight: dx = r (g - mean(g) - x̂ mean(g x̂)), in RMSNorm without the means of x and
//! g. Mean and r are found again. The gradients of the weights, Σ dy x̂ and Σ dy over all runs, are summed while a run lies in the
//! first cache: over the runs of a block of rows in order, then over the blocks. How rows divide into blocks depends on their
//! number alone.

use super::sum::fold;
use crate::kernels::norm::{self, Norm};
use crate::memory::Tensor;
use crate::simd::{Kernel, Simd};
use seq2seq_core::NormKind;
use std::ops::Range;

/// A block of rows: dx, added to what `dx` holds where `add` is set, and the sums over its runs.
pub(crate) struct Block<'a> {
    pub(crate) norm: &'a Norm,
    pub(crate) x: &'a Tensor,
    pub(crate) dy: &'a Tensor,
    pub(crate) rows: Range<usize>,
    /// Rows of dx, and from one to the next.
    pub(crate) dx: Option<&'a mut [f32]>,
    pub(crate) stride: usize,
    pub(crate) add: bool,
    /// The sums for weight and bias, which are written, one after the other.
    pub(crate) sums: Option<&'a mut [f32]>,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { norm, x, dy, rows, mut dx, stride, add, sums } = self;
        let (width, first) = (norm.weight.len(), rows.start);
        let mut sums = sums.map(|sums| {
            sums.fill(0.0);
            sums.split_at_mut(width)
        });
        for n in rows {
            for (i, (x, dy)) in x.row(n).chunks(width).zip(dy.row(n).chunks(width)).enumerate() {
                let [mean, r] = norm::moments(s, norm, x);
                if let Some(dx) = &mut dx {
                    let at = (n - first) * stride + i * width;
                    through(norm, (x, dy), [mean, r], &mut dx[at..at + width], add);
                }
                if let Some((weight, bias)) = &mut sums {
                    for ((out, x), dy) in weight.iter_mut().zip(x).zip(dy) {
                        *out += dy * ((x - mean) * r);
                    }
                    bias.iter_mut().zip(dy).for_each(|(out, dy)| *out += dy);
                }
            }
        }
    }
}

/// dx of a run.
#[inline(always)]
fn through(norm: &Norm, (x, dy): (&[f32], &[f32]), [mean, r]: [f32; 2], dx: &mut [f32], add: bool) {
    let (count, weight) = (x.len() as f32, &norm.weight[..x.len()]);
    let (dx, dy) = (&mut dx[..x.len()], &dy[..x.len()]);
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
    let shift = if norm.kind == NormKind::Layer { fold(shift) / count } else { 0.0 };
    for (((dx, &x), &dy), &w) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
        let hat = (x - mean) * r;
        let value = (dy * w - shift - hat * along) * r;
        *dx = if add { *dx + value } else { value };
    }
}
