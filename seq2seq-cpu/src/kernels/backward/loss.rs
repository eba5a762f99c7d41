//! Cross-entropy of one row with its gradient, and dropout of one row.

use crate::kernels::log_softmax;
use crate::simd::{Kernel, MAX_LANES, Simd, math};
use seq2seq_core::train::Dropout;

/// p - b, less a at the target; gives nll, Σ(-ln p) where `b` is not 0, and whether the target has the largest score.
pub(crate) struct CrossEntropy<'a> {
    pub(crate) scores: &'a [f32],
    pub(crate) target: usize,
    /// The weights of the target and of every id ([`Smoothing::weights`](seq2seq_core::train::Smoothing::weights)).
    pub(crate) weights: (f64, f64),
    pub(crate) gradient: &'a mut [f32],
}

impl Kernel for CrossEntropy<'_> {
    type Output = (f64, f64, bool);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f64, f64, bool) {
        let Self { scores, target, weights: (a, b), gradient } = self;
        let gradient = &mut gradient[..scores.len()];
        let n = scores.len();
        let largest = log_softmax::largest(s, scores);
        let shift = s.splat(largest);
        let mut sum = s.zero();
        for at in (0..n).step_by(S::LANES) {
            let x = match n - at < S::LANES {
                true => s.load_partial(&scores[at..], f32::NEG_INFINITY),
                false => s.load(&scores[at..]),
            };
            let e = math::exp(s, s.sub(x, shift));
            sum = s.add(sum, e);
            s.store_within(e, gradient, at);
        }
        let total = s.reduce_add(sum);
        let (inverse, each) = (1.0 / total, b as f32);
        gradient.iter_mut().for_each(|g| *g = *g * inverse - each);
        // From p itself, not from p - b, whose rounding would count twice.
        let p = math_exp(scores[target] - largest) * inverse;
        gradient[target] = p - (a + b) as f32;
        let log = f64::from(largest) + f64::from(total).ln();
        let nll = log - f64::from(scores[target]);
        let all = match b == 0.0 {
            true => 0.0,
            false => sum_of_logs(log, scores),
        };
        // What was found is the largest, unless a score is NaN, which the total tells.
        let correct = match total.is_nan() {
            true => is_first(&scores[..=target]) && is_largest(scores, scores[target]),
            false => scores[target] == largest && is_first(&scores[..=target]),
        };
        (nll, all, correct)
    }
}

/// Whether the last is larger than all before. (In a loop of its own: with a level's vectors it would be no faster.)
fn is_first(scores: &[f32]) -> bool {
    scores.split_last().is_none_or(|(last, before)| before.iter().all(|v| v < last))
}

/// Whether none is larger than `x`, or NaN.
fn is_largest(scores: &[f32], x: f32) -> bool {
    scores.iter().all(|v| *v <= x)
}

/// Σ (log - x), in chains that do not wait for one another.
#[inline(always)]
fn sum_of_logs(log: f64, scores: &[f32]) -> f64 {
    let (chunks, rest) = scores.as_chunks::<{ 2 * MAX_LANES }>();
    let mut sums = [0.0; 2 * MAX_LANES];
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += log - f64::from(x);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&x| log - f64::from(x)).sum::<f64>()
}

/// e^x of the standard library, rounded.
#[inline(always)]
fn math_exp(x: f32) -> f32 {
    f64::from(x).exp() as f32
}

/// y = x · the factors of a row.
pub(crate) struct Drop<'a> {
    pub(crate) dropout: Dropout,
    pub(crate) row: usize,
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a mut [f32],
}

impl Kernel for Drop<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { dropout, row, x, y } = self;
        dropout.factors(row, y);
        for (y, x) in y.iter_mut().zip(x) {
            *y *= x;
        }
    }
}
