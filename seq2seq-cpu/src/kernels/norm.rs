//! LayerNorm and RMSNorm of one run of columns.
//!
//! ```text
//! layer    y = (x - mean) / √(variance + eps) · weight + bias
//! rms      y = x / √(mean of squares + eps) · weight
//! ```
//!
//! The variance is summed from the deviations, never as a difference of large squares. What the rounding of the mean
//! leaves in the deviations, their own mean r, is taken from each of them and from the variance, Σ(x - mean)² - M r²
//! (Chan, Golub and LeVeque 1983), so that a large mean costs no digits. A run's sums go over its vectors in order, lane
//! by lane, and end in a fixed tree: its bits depend on nothing but the run and the level.

use crate::memory::Readers;
use crate::simd::{Kernel, Simd};
use seq2seq_core::NormKind;
use std::sync::Arc;

/// The weights of a normalisation, `[M]` each.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, NormKind, NormSpec};
/// use seq2seq_cpu::{Cpu, CpuOptions, Norm};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let [weight, bias] = [[1.0, 10.0], [0.0, 5.0]].map(|w| HostTensor::from_f32(vec![2], &w));
/// let spec = NormSpec { kind: NormKind::Layer, eps: 0.0, weight: weight?, bias: Some(bias?) };
/// let norm: Norm = cpu.norm_weights(&spec)?;
///
/// let x = cpu.upload(&HostTensor::from_f32(vec![1, 4], &[1.0, 3.0, 70.0, 50.0])?)?;
/// // Two columns each: two heads, say, which are normalised by themselves.
/// assert_eq!(cpu.download(&cpu.norm(&x, &norm)?)?, [-1.0, 15.0, 1.0, -5.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Norm {
    pub(crate) kind: NormKind,
    pub(crate) eps: f32,
    pub(crate) weight: Vec<f32>,
    /// Zeros where LayerNorm has none; RMSNorm does not look at it.
    pub(crate) bias: Vec<f32>,
    /// Of the results.
    pub(crate) readers: Arc<Readers>,
}

/// One run; `y` is as long as `x`.
pub(crate) struct Run<'a> {
    pub(crate) norm: &'a Norm,
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a mut [f32],
}

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { norm, x, y } = self;
        let count = x.len() as f32;
        match norm.kind {
            NormKind::Layer => {
                let mean = sum(s, x, 0.0, |v| v) / count;
                let centre = s.splat(mean);
                let rest = sum(s, x, mean, |v| s.sub(v, centre)) / count;
                let squares = sum(s, x, mean, |v| {
                    let d = s.sub(v, centre);
                    s.mul(d, d)
                });
                let variance = squares / count - rest * rest;
                // Not `max`, which would drop a NaN.
                let variance = if variance < 0.0 { 0.0 } else { variance };
                let (rest, inverse) = (s.splat(rest), s.splat(1.0 / (variance + norm.eps).sqrt()));
                map(s, x, (&norm.weight, Some(&norm.bias)), y, |v, w, b| {
                    let d = s.sub(s.sub(v, centre), rest);
                    s.fma(s.mul(d, inverse), w, b)
                });
            }
            NormKind::Rms => {
                let squares = sum(s, x, 0.0, |v| s.mul(v, v));
                let inverse = s.splat(1.0 / (squares / count + norm.eps).sqrt());
                map(s, x, (&norm.weight, None), y, |v, w, _| s.mul(s.mul(v, inverse), w));
            }
        }
    }
}

/// The mean of LayerNorm (0 in RMSNorm) and 1 / √(variance + eps), for the way back: the mean with what its rounding left.
#[inline(always)]
pub(crate) fn moments<S: Simd>(s: S, norm: &Norm, x: &[f32]) -> [f32; 2] {
    let count = x.len() as f32;
    let mean = match norm.kind {
        NormKind::Layer => {
            let mean = sum(s, x, 0.0, |v| v) / count;
            let centre = s.splat(mean);
            mean + sum(s, x, mean, |v| s.sub(v, centre)) / count
        }
        NormKind::Rms => 0.0,
    };
    let centre = s.splat(mean);
    let squares = sum(s, x, mean, |v| {
        let d = s.sub(v, centre);
        s.mul(d, d)
    });
    [mean, 1.0 / (squares / count + norm.eps).sqrt()]
}

/// Σ f(x); lanes behind the end count as f(`fill`), which is 0.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32], fill: f32, f: impl Fn(S::V) -> S::V) -> f32 {
    // Four sums hide the latency of an addition.
    let mut sums = [s.zero(); 4];
    let mut chunks = x.chunks_exact(4 * S::LANES);
    for chunk in &mut chunks {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = s.add(*sum, f(s.load(&chunk[i * S::LANES..])));
        }
    }
    let mut rest = chunks.remainder().chunks_exact(S::LANES);
    for part in &mut rest {
        sums[0] = s.add(sums[0], f(s.load(part)));
    }
    if !rest.remainder().is_empty() {
        sums[1] = s.add(sums[1], f(s.load_partial(rest.remainder(), fill)));
    }
    let [a, b, c, d] = sums;
    s.reduce_add(s.add(s.add(a, b), s.add(c, d)))
}

/// y = f(x, weight, bias), zeros in place of an absent bias.
#[inline(always)]
fn map<S: Simd>(
    s: S,
    x: &[f32],
    (weight, bias): (&[f32], Option<&Vec<f32>>),
    y: &mut [f32],
    f: impl Fn(S::V, S::V, S::V) -> S::V,
) {
    let (weight, y) = (&weight[..x.len()], &mut y[..x.len()]);
    let whole = x.len() / S::LANES * S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        let b = bias.map_or(s.zero(), |b| s.load(&b[i..]));
        s.store(f(s.load(&x[i..]), s.load(&weight[i..]), b), &mut y[i..]);
    }
    if whole < x.len() {
        let b = bias.map_or(s.zero(), |b| s.load_partial(&b[whole..], 0.0));
        let x = s.load_partial(&x[whole..], 0.0);
        let weight = s.load_partial(&weight[whole..], 0.0);
        s.store_partial(f(x, weight, b), &mut y[whole..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::dispatch;

    fn run(isa: Isa, norm: &Norm, x: &[f32]) -> Vec<f32> {
        let mut y = vec![f32::NAN; x.len()];
        dispatch(isa, Run { norm, x, y: &mut y });
        y
    }

    fn norm(kind: NormKind, width: usize) -> Norm {
        let weight = (0..width).map(|i| 1.0 + (i % 5) as f32 / 8.0).collect();
        let bias = (0..width).map(|i| (i % 3) as f32 - 1.0).collect();
        Norm { kind, eps: 1e-6, weight, bias, readers: Arc::default() }
    }

    /// A mean 10,000 times the deviation: squares minus square would have no correct digit.
    #[test]
    fn a_large_mean_costs_no_digits() {
        for isa in Isa::available() {
            for width in [1, 5, 16, 63, 64, 200, 768] {
                let norm = norm(NormKind::Layer, width);
                let x: Vec<f32> = (0..width).map(|i| 1e4 + (i * i % 17) as f32 / 16.0).collect();
                let (m, n) = (x.iter().map(|&v| f64::from(v)), width as f64);
                let mean = m.clone().sum::<f64>() / n;
                let variance = m.map(|v| (v - mean).powi(2)).sum::<f64>() / n;
                let y = run(isa, &norm, &x);
                for i in 0..width {
                    let d = f64::from(x[i]) - mean;
                    let want = d / (variance + 1e-6).sqrt() * f64::from(norm.weight[i])
                        + f64::from(norm.bias[i]);
                    // The mean is rounded to a 2048th here, a hundredth of the deviations.
                    let error = (f64::from(y[i]) - want).abs();
                    assert!(error < 1e-5, "{isa} {width}: {} for {want}", y[i]);
                }
            }
        }
    }

    #[test]
    fn root_mean_square() {
        for isa in Isa::available() {
            let mut norm = norm(NormKind::Rms, 3);
            norm.weight = vec![1.0, 2.0, -1.0];
            norm.eps = 0.0;
            assert_eq!(run(isa, &norm, &[3.0, -3.0, 3.0]), [1.0, -2.0, -1.0], "{isa}");
        }
    }

    #[test]
    fn nan_reaches_the_whole_row() {
        for isa in Isa::available() {
            for kind in [NormKind::Layer, NormKind::Rms] {
                let mut x = [1.0; 70];
                x[69] = f32::NAN;
                let y = run(isa, &norm(kind, 70), &x);
                assert!(y.iter().all(|v| v.is_nan()), "{isa} {kind:?}");
            }
        }
    }
}
