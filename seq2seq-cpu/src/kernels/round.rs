//! Rounding to bf16: to the nearest, ties to even; beyond the largest to infinity, NaN to NaN.
//!
//! A bf16 is the upper half of an f32, so rounding is an addition to the bits that carries into the upper half.

use crate::{
    isa::Isa,
    simd::{self, MAX_LANES},
};
use bytemuck::Pod;

/// The upper half of the bits of `x`, rounded.
#[inline(always)]
pub(crate) fn upper_half(x: f32) -> u32 {
    let bits = x.to_bits();
    let even = bits >> 16 & 1;
    // A NaN might carry into infinity or past the sign: it is cut off instead, and kept quiet.
    let rounded = if x.is_nan() { bits | 0x0040_0000 } else { bits.wrapping_add(0x7fff + even) };
    rounded >> 16
}

/// What rounded values are stored as.
pub(crate) trait Rounded: Pod {
    /// Rounds the lanes of `v` into the first `LANES` values of `to`.
    ///
    /// # Panics
    /// When there are fewer.
    fn store<S: simd::Simd>(s: S, v: S::V, to: &mut [Self]);
}

/// The bits of a bf16.
impl Rounded for u16 {
    #[inline(always)]
    fn store<S: simd::Simd>(s: S, v: S::V, to: &mut [u16]) {
        s.store_upper(s.to_bf16(v), to);
    }
}

impl Rounded for f32 {
    #[inline(always)]
    fn store<S: simd::Simd>(s: S, v: S::V, to: &mut [f32]) {
        s.store(s.to_bf16(v), to);
    }
}

struct Round<'a, T> {
    x: &'a [f32],
    out: &'a mut [T],
}

impl<T: Rounded> simd::Kernel for Round<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: simd::Simd>(self, s: S) {
        let Self { x, out } = self;
        let whole = x.len() / S::LANES * S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            T::store(s, s.load(&x[at..]), &mut out[at..]);
        }
        let mut last = [T::zeroed(); MAX_LANES];
        T::store(s, s.load_partial(&x[whole..], 0.0), &mut last);
        out[whole..x.len()].copy_from_slice(&last[..x.len() - whole]);
    }
}

/// Rounds `x` into the first values of `out`: as bf16 bits (u16), or as f32.
pub(crate) fn round<T: Rounded>(isa: Isa, x: &[f32], out: &mut [T]) {
    simd::dispatch(isa, Round { x, out });
}

/// Rounds runs of `run` values two by two, each pair side by side: of two runs the first values, then the second, and so on.
struct RoundPairs<'a> {
    x: &'a [f32],
    run: usize,
    out: &'a mut [u16],
}

impl simd::Kernel for RoundPairs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: simd::Simd>(self, _: S) {
        let Self { x, run, out } = self;
        let pairs = bytemuck::cast_slice_mut::<u16, u32>(out);
        for (x, out) in x.chunks_exact(2 * run).zip(pairs.chunks_exact_mut(run)) {
            let (first, second) = x.split_at(run);
            for ((out, &a), &b) in out.iter_mut().zip(first).zip(second) {
                // The first of a pair has the lower address.
                let [low, high] = if cfg!(target_endian = "little") { [a, b] } else { [b, a] };
                *out = upper_half(low) | upper_half(high) << 16;
            }
        }
    }
}

/// As [`RoundPairs`]; `out` is as long as `x`, whole pairs of runs, and begins on 4 bytes.
pub(crate) fn round_pairs(isa: Isa, x: &[f32], run: usize, out: &mut [u16]) {
    simd::dispatch(isa, RoundPairs { x, run, out });
}

/// Whether all values are numbers of at most `limit`.
struct Within<'a> {
    limit: f32,
    x: &'a [f32],
}

impl simd::Kernel for Within<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: simd::Simd>(self, _: S) -> bool {
        // Numbers without their sign are ordered as their bits are, and NaN lies above them all.
        let largest = self.x.iter().fold(0, |most: u32, x| most.max(x.to_bits() & !(1 << 31)));
        largest <= self.limit.to_bits()
    }
}

/// Whether all of `x` are numbers of at most `limit` in magnitude.
pub(crate) fn within(isa: Isa, limit: f32, x: &[f32]) -> bool {
    simd::dispatch(isa, Within { limit, x })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_rounded_as_single_values_are() {
        for (run, pairs) in [(1, 3), (8, 2), (16, 5), (32, 8), (5, 3)] {
            let x: Vec<f32> = (0..2 * run * pairs).map(|i| 1.0 + i as f32 / 771.0).collect();
            for isa in Isa::available() {
                let (mut single, mut out) = (vec![0u16; x.len()], vec![0u32; x.len() / 2]);
                let out: &mut [u16] = bytemuck::cast_slice_mut(&mut out);
                round(isa, &x, &mut single);
                round_pairs(isa, &x, run, out);
                for (i, &bits) in out.iter().enumerate() {
                    let (pair, place) = (i / (2 * run), i % (2 * run));
                    let from = pair * 2 * run + place % 2 * run + place / 2;
                    assert_eq!(bits, single[from], "{isa}: {run} values, place {i}");
                }
            }
        }
    }

    #[test]
    fn what_is_beyond_a_limit_is_found_wherever_it_stands() {
        for isa in Isa::available() {
            for at in 0..70 {
                let mut x: Vec<f32> = (0..70).map(|i| (i as f32 - 35.0) / 35.0).collect();
                assert!(within(isa, 1.0, &x));
                for bad in [1.0f32.next_up(), -1.0f32.next_up(), f32::NAN, -f32::NAN, f32::INFINITY]
                {
                    x[at] = bad;
                    assert!(!within(isa, 1.0, &x), "{isa}: {bad} at {at}");
                }
            }
            assert!(within(isa, f32::MAX, &[f32::MAX, f32::MIN, -0.0]));
            assert!(!within(isa, f32::MAX, &[f32::NEG_INFINITY]));
        }
    }

    #[test]
    fn rounds_to_nearest_even_at_every_level() {
        let cases = [
            (1.0, 0x3f80),
            // Halfway: to the even neighbour, down and up.
            (f32::from_bits(0x3f80_8000), 0x3f80),
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (f32::from_bits(0x3f80_8001), 0x3f81),
            (-f32::from_bits(0x3f80_7fff), 0xbf80),
            (f32::MAX, 0x7f80),
            (f32::INFINITY, 0x7f80),
            (f32::NEG_INFINITY, 0xff80),
            (-0.0, 0x8000),
            (f32::from_bits(1), 0),
            // A NaN that rounding would turn into minus zero.
            (f32::from_bits(0xffff_ffff), 0xffff),
            (f32::from_bits(0x7f80_0001), 0x7fc0),
        ];
        let x: Vec<f32> = cases.iter().map(|c| c.0).cycle().take(100).collect();
        for isa in Isa::available() {
            let (mut bits, mut wide) = (vec![0_u16; 100], vec![0_f32; 100]);
            round(isa, &x, &mut bits);
            round(isa, &x, &mut wide);
            for (i, (&b, w)) in bits.iter().zip(wide).enumerate() {
                assert_eq!(b, cases[i % cases.len()].1, "{isa}: {:e}", x[i]);
                assert_eq!(w.to_bits(), u32::from(b) << 16);
            }
        }
    }
}
