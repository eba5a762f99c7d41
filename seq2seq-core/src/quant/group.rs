//! 32 weights of an output channel as 4-bit codes and a scale: [`Format::Int4`](crate::Format::Int4).
//!
//! A code stands for one of 16 [`LEVELS`], and a weight is nearly level · scale. The levels lie closer together near zero,
//! where most weights are (as those of NF4 do, Dettmers et al. 2023, for another rule of scaling). They were fitted by
//! `scripts/int4_levels.py` to groups of normal values that are scaled by the rule below, with Lloyd's method (1982),
//! to the least squared error, with 0 held in place, so that a weight of zero stays zero. A test holds them to that.
//!
//! The scale of a group, from its value of the largest magnitude, e (the first of several):
//!
//! - Units: t = v · (127 / e), a division and a product of f32 each; e itself is 127.
//! - For each of the [`ENDS`] m, in order: q is the level for t · (m / 127). The scale that fits these levels best is
//!   Σtq / Σq², and it takes (Σtq)² / Σq² from the squared error. The first m that takes the most wins. Σtq is summed in
//!   f32, in [`LANES`] partial sums over rising k, whose two halves are added until one sum is left; Σq² is exact.
//! - scale = Σtq / Σq² · (e / 127), in f32, rounded to bf16 (nearest, ties to even). It may be negative, as the levels
//!   are not symmetric.
//!
//! The code of v is then the level for v · (1 / scale). The level for a number: the number, cut to -127..=127, is rounded to
//! an integer, ties to even, and of the levels the nearest is taken, the lower one of two.
//!
//! A group with |e| < [`TINY`] has scale 0 and codes of 0. One that holds NaN or infinity has scale NaN.

use super::{TINY, row::SHIFT};
use half::bf16;

/// Weights that share a scale.
pub const GROUP: usize = 32;

/// What the codes stand for, rising.
pub const LEVELS: [i8; 16] =
    [-127, -100, -80, -64, -50, -38, -25, -12, 0, 13, 26, 39, 52, 67, 84, 106];

/// The code of 0.
pub const ZERO: u8 = 8;

/// What the largest value of a group is tried as: four places about each end of the levels. With ten the error of normal
/// weights is 0.7% smaller, and loading takes more than twice as long.
pub const ENDS: [f32; 8] = [-140.0, -127.0, -118.0, -108.0, 98.0, 104.0, 114.0, 126.0];

/// Partial sums of Σtq.
pub const LANES: usize = 8;

/// The largest integer that is nearer to level i than to level i + 1, or as near.
pub const BORDERS: [i8; 15] = {
    let mut borders = [0; 15];
    let mut i = 0;
    while i < 15 {
        borders[i] = (LEVELS[i] as i32 + LEVELS[i + 1] as i32).div_euclid(2) as i8;
        i += 1;
    }
    borders
};

/// `v · factor`, cut to -127..=127 and rounded to integers.
fn integers(v: &[f32; GROUP], factor: f32) -> [i8; GROUP] {
    let mut out = [0; GROUP];
    for (out, &v) in out.iter_mut().zip(v) {
        *out = ((v * factor).clamp(-127.0, 127.0) + SHIFT).to_bits() as i8;
    }
    out
}

/// The code of the nearest level to each.
fn codes_of(k: &[i8; GROUP]) -> [u8; GROUP] {
    let mut out = [0; GROUP];
    for border in BORDERS {
        for (out, &k) in out.iter_mut().zip(k) {
            *out += u8::from(k > border);
        }
    }
    out
}

/// Σtq and Σq² for the levels that t · `factor` is nearest to.
fn fit(t: &[f32; GROUP], factor: f32) -> (f32, f32) {
    let q = codes_of(&integers(t, factor)).map(|code| LEVELS[usize::from(code)]);
    let (mut products, mut squares) = ([0.0; LANES], 0);
    for (t, q) in t.chunks_exact(LANES).zip(q.chunks_exact(LANES)) {
        for i in 0..LANES {
            products[i] += t[i] * f32::from(q[i]);
            squares += i32::from(q[i]) * i32::from(q[i]);
        }
    }
    for half in [LANES / 2, LANES / 4, LANES / 8] {
        for i in 0..half {
            products[i] += products[i + half];
        }
    }
    // Exact: 32 · 127² is below 2²⁴.
    (products[0], squares as f32)
}

/// The scale and the codes of a group. The scale is a bf16.
///
/// ```
/// use seq2seq_core::quant::group::{GROUP, LEVELS, ZERO, quantise_group};
///
/// // A ramp, and a weight that is zero stays zero.
/// let weights: [f32; GROUP] = std::array::from_fn(|k| k as f32 - 16.0);
/// let (scale, codes) = quantise_group(&weights);
/// assert_eq!(codes[16], ZERO);
/// let back = codes.map(|code| scale * f32::from(LEVELS[usize::from(code)]));
/// let off = weights.iter().zip(back).map(|(weight, back)| (weight - back).abs());
/// assert!(off.reduce(f32::max) < Some(2.0));
/// ```
pub fn quantise_group(values: &[f32; GROUP]) -> (f32, [u8; GROUP]) {
    let mut extreme = 0.0f32;
    let mut finite = true;
    for &v in values {
        finite &= v.is_finite();
        extreme = if v.abs() > extreme.abs() { v } else { extreme };
    }
    if !finite {
        return (f32::NAN, [ZERO; GROUP]);
    }
    if extreme.abs() < TINY {
        return (0.0, [ZERO; GROUP]);
    }
    let unit = 127.0 / extreme;
    let t = values.map(|v| v * unit);
    let (mut best, mut scale) = (-1.0, 0.0);
    for end in ENDS {
        // Not 0: the level of the largest value is not.
        let (product, square) = fit(&t, end / 127.0);
        let gain = product * product / square;
        if gain > best {
            (best, scale) = (gain, product / square);
        }
    }
    let scale = stored_scale(scale, extreme);
    (scale, codes_of(&integers(values, 1.0 / scale)))
}

/// The scale that fits units best, as it is stored: for weights, and as a bf16.
///
/// ```
/// use seq2seq_core::quant::group::stored_scale;
///
/// // A group whose largest weight is 12.7, and whose units fit levels best as they are: 0.1, as near as a bf16 comes.
/// assert_eq!(stored_scale(1.0, 12.7), 0.10009765625);
/// ```
pub fn stored_scale(scale: f32, extreme: f32) -> f32 {
    bf16::from_f32(scale * (extreme / 127.0)).to_f32()
}

/// The groups of a channel of any length.
///
/// ```
/// use seq2seq_core::quant::group::{GROUP, groups};
///
/// assert_eq!([1, GROUP, GROUP + 1].map(groups), [1, 1, 2]);
/// ```
pub fn groups(length: usize) -> usize {
    length.div_ceil(GROUP)
}

/// Quantises a channel: a code for each value, a scale for each group. The last group is filled up with zeros.
///
/// ```
/// use seq2seq_core::quant::group::{LEVELS, groups, quantise};
///
/// let channel: Vec<f32> = (0..40).map(|k| if k < 32 { 1.0 } else { -0.001 }).collect();
/// let (mut codes, mut scales) = (vec![0; 40], vec![0.0; groups(40)]);
/// quantise(&channel, &mut codes, &mut scales);
/// // Each group has a scale for its own weights, so that large ones elsewhere do not drown small ones.
/// for (k, weight) in channel.iter().enumerate() {
///     let back = scales[k / 32] * f32::from(LEVELS[usize::from(codes[k])]);
///     assert!((back / weight - 1.0).abs() < 0.01, "{back} for {weight}");
/// }
/// ```
///
/// # Panics
/// When `codes` is not as long as `values`, or `scales` not as long as there are [`groups`].
pub fn quantise(values: &[f32], codes: &mut [u8], scales: &mut [f32]) {
    assert_eq!(values.len(), codes.len(), "as many codes as values");
    assert_eq!(groups(values.len()), scales.len(), "as many scales as groups");
    let runs = values.chunks(GROUP).zip(codes.chunks_mut(GROUP));
    for ((values, codes), scale) in runs.zip(scales) {
        let mut group = [0.0; GROUP];
        group[..values.len()].copy_from_slice(values);
        let (group_scale, group_codes) = quantise_group(&group);
        *scale = group_scale;
        codes.copy_from_slice(&group_codes[..codes.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::values::Random;

    fn normal(seed: u64) -> [f32; GROUP] {
        let mut random = Random::new(seed);
        std::array::from_fn(|_| random.normal() as f32)
    }

    fn back(scale: f32, codes: [u8; GROUP]) -> [f32; GROUP] {
        codes.map(|c| scale * f32::from(LEVELS[usize::from(c)]))
    }

    fn squared(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    }

    #[test]
    fn levels_rise_and_one_is_zero() {
        assert!(LEVELS.is_sorted_by(|a, b| a < b));
        assert_eq!(LEVELS[usize::from(ZERO)], 0);
    }

    #[test]
    fn the_nearest_level_is_taken() {
        let nearest = |k: i8| {
            let distance = |l: i8| (i32::from(l) - i32::from(k)).abs();
            LEVELS.into_iter().min_by_key(|&l| (distance(l), l)).unwrap()
        };
        for k in -127..=127 {
            let code = codes_of(&[k; GROUP])[0];
            assert_eq!(LEVELS[usize::from(code)], nearest(k), "{k}");
        }
    }

    /// Lloyd's condition for the least error: each level is the mean of what it stands for.
    #[test]
    fn levels_are_the_means_of_normal_weights() {
        let (mut sums, mut weights) = ([0.0; 16], [0.0; 16]);
        let (mut error, mut size) = (0.0, 0.0);
        for seed in 0..8000 {
            let v = normal(seed);
            let (scale, codes) = quantise_group(&v);
            for (v, c) in v.iter().zip(codes) {
                sums[usize::from(c)] += f64::from(v * scale);
                weights[usize::from(c)] += f64::from(scale * scale);
            }
            error += squared(&v, &back(scale, codes));
            size += squared(&v, &[0.0; GROUP]);
        }
        for i in 0..16 {
            let mean = sums[i] / weights[i];
            assert!((mean - f64::from(LEVELS[i])).abs() < 1.5, "level {}: {mean}", LEVELS[i]);
        }
        // 0.0815 with 16 equal steps.
        let relative = f64::sqrt(error / size);
        assert!((0.072..0.0745).contains(&relative), "{relative}");
    }

    #[test]
    fn levels_times_a_bf16_are_kept() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut codes: [u8; GROUP] = std::array::from_fn(|_| random.below(16) as u8);
            codes[random.below(GROUP)] = 0;
            let scale = [1.0, -0.0078125, 1e30][random.below(3)];
            let scale = bf16::from_f32(scale).to_f32();
            assert_eq!(quantise_group(&back(scale, codes)), (scale, codes), "{seed}");
        }
    }

    /// No scale near the chosen one, of either sign, gives a much smaller error.
    #[test]
    fn the_scale_is_nearly_the_best() {
        let mut lost = 0.0;
        for seed in 0..100 {
            let v = normal(seed);
            let (scale, codes) = quantise_group(&v);
            let error = squared(&v, &back(scale, codes));
            let tries = (-100..=100).filter(|&i| i != 0).map(|i: i32| {
                let scale = scale * (1.0 + 0.006 * i.abs() as f32 - 0.3) * i.signum() as f32;
                squared(&v, &back(scale, codes_of(&integers(&v, 1.0 / scale))))
            });
            lost += error / tries.fold(f64::INFINITY, f64::min) - 1.0;
        }
        // Eight places lose 2.7% of the squared error, twenty 1.3%.
        assert!(lost / 100.0 < 0.03, "{} of the error on average", lost / 100.0);
    }

    #[test]
    fn no_size_of_values_overflows() {
        let size = |v: [f32; GROUP]| v.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let small = normal(1);
        let (scale, codes) = quantise_group(&small);
        for largest in [TINY, 1e-30, 1e20, f32::MAX] {
            let v = small.map(|v| v * (largest / size(small)));
            let (s, c) = quantise_group(&v);
            assert!(s.is_normal());
            let ratio = f64::from(s) / f64::from(scale) / f64::from(largest / size(small));
            assert!((ratio - 1.0).abs() < 0.01, "{largest}: {ratio}");
            assert!(c.iter().zip(codes).all(|(a, b)| a.abs_diff(b) <= 1), "{largest}");
        }
    }

    #[test]
    fn zeros_tiny_and_non_finite_groups() {
        assert_eq!(quantise_group(&[0.0; GROUP]), (0.0, [ZERO; GROUP]));
        assert_eq!(quantise_group(&[TINY / 2.0; GROUP]), (0.0, [ZERO; GROUP]));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut v = normal(1);
            v[7] = bad;
            let (scale, codes) = quantise_group(&v);
            assert!(scale.is_nan() && codes == [ZERO; GROUP]);
        }
    }

    #[test]
    fn a_channel_ends_in_zeros() {
        let v = normal(3);
        let mut padded = [0.0; GROUP];
        padded[..5].copy_from_slice(&v[..5]);
        let channel: Vec<f32> = v.iter().chain(&v[..5]).copied().collect();
        let (mut codes, mut scales) = ([0; 37], [0.0; 2]);
        quantise(&channel, &mut codes, &mut scales);
        let (first, last) = (quantise_group(&v), quantise_group(&padded));
        assert_eq!(scales, [first.0, last.0]);
        assert_eq!((&codes[..32], &codes[32..]), (&first.1[..], &last.1[..5]));
    }
}
