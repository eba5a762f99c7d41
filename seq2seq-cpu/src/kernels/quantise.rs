//! Quantisation of weights and activations as [`seq2seq_core::quant`] defines it, to the bit.
//!
//! Plain loops, which the compiler vectorises for each level.

#[cfg(target_arch = "x86_64")]
mod group_avx2;
#[cfg(target_arch = "x86_64")]
mod group_avx512;

use crate::{isa::Isa, simd};
use seq2seq_core::quant::{
    channel,
    group::{self, GROUP},
    row::{Affine, SHIFT},
};

/// How a value q of 0..=255, of a row with the zero point z, is stored.
pub(crate) trait Stored: Copy {
    /// What is taken from q, and from z.
    fn offset(zero: i32) -> i32;
    /// From an integer whose low bits are those of the difference in two's complement.
    fn from_low_bits(bits: i32) -> Self;
}

/// q
impl Stored for u8 {
    #[inline(always)]
    fn offset(_: i32) -> i32 {
        0
    }

    #[inline(always)]
    fn from_low_bits(bits: i32) -> u8 {
        bits as u8
    }
}

/// q - 128
impl Stored for i8 {
    #[inline(always)]
    fn offset(_: i32) -> i32 {
        128
    }

    #[inline(always)]
    fn from_low_bits(bits: i32) -> i8 {
        bits as i8
    }
}

/// q - z
impl Stored for i16 {
    #[inline(always)]
    fn offset(zero: i32) -> i32 {
        zero
    }

    #[inline(always)]
    fn from_low_bits(bits: i32) -> i16 {
        bits as i16
    }
}

struct Row<'a, Q> {
    x: &'a [f32],
    out: &'a mut [Q],
}

impl<Q: Stored> simd::Kernel for Row<'_, Q> {
    type Output = (i32, f32);

    #[inline(always)]
    fn run<S: simd::Simd>(self, _: S) -> (i32, f32) {
        // As `row::extremes`, in a loop that is compiled here, with the instructions of the level.
        let (mut lo, mut hi) = (1 << 31, 0);
        for x in self.x {
            let bits = x.to_bits();
            lo = bits.max(lo);
            hi = bits.cast_signed().max(hi);
        }
        let affine = Affine::of((f32::from_bits(lo), f32::from_bits(hi.cast_unsigned())));
        let Affine { scale, inverse, zero } = affine;
        let offset = Q::offset(zero);
        let tail = (zero - offset, scale);
        if scale.is_nan() {
            self.out.fill(Q::from_low_bits(-offset));
            return tail;
        }
        let shift = SHIFT + zero as f32;
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            let bits = (x * inverse + shift).to_bits().cast_signed();
            *out = Q::from_low_bits(bits.wrapping_sub(offset));
        }
        tail
    }
}

/// Quantises a row of activations into the first values of `out`, as [`row`](seq2seq_core::quant::row) defines it. Gives the zero point as it is
/// stored, and the scale.
pub(crate) fn quantise_row<Q: Stored>(isa: Isa, x: &[f32], out: &mut [Q]) -> (i32, f32) {
    simd::dispatch(isa, Row { x, out })
}

struct Channel<'a> {
    x: &'a [f32],
    out: &'a mut [i8],
}

impl simd::Kernel for Channel<'_> {
    type Output = (f32, i32);

    #[inline(always)]
    fn run<S: simd::Simd>(self, _: S) -> (f32, i32) {
        // As `channel::max_abs`, in a loop that is compiled here, with the instructions of the level.
        let largest = self.x.iter().fold(0, |a, x| (x.to_bits() & 0x7fff_ffff).max(a));
        let (scale, inverse) = channel::scale_and_inverse(f32::from_bits(largest));
        if scale.is_nan() {
            self.out.fill(0);
            return (scale, 0);
        }
        let mut sum = 0;
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            *out = (x * inverse + SHIFT).to_bits() as i8;
            sum += i32::from(*out);
        }
        (scale, sum)
    }
}

/// Quantises an output channel of a weight into the first values of `out`, as [`channel`] defines it. Gives the scale, and the
/// sum of the integers.
pub(crate) fn quantise_channel(isa: Isa, x: &[f32], out: &mut [i8]) -> (f32, i32) {
    simd::dispatch(isa, Channel { x, out })
}

struct CopyChannel<'a> {
    x: &'a [i8],
    out: &'a mut [i8],
}

impl simd::Kernel for CopyChannel<'_> {
    type Output = i32;

    #[inline(always)]
    fn run<S: simd::Simd>(self, _: S) -> i32 {
        self.out.copy_from_slice(self.x);
        self.x.iter().map(|&v| i32::from(v)).sum()
    }
}

/// Copies an output channel of a weight that is in int8 already. Gives the sum of the integers.
pub(crate) fn copy_channel(isa: Isa, x: &[i8], out: &mut [i8]) -> i32 {
    simd::dispatch(isa, CopyChannel { x, out })
}

/// The sum of a channel's weights: of levels times the scales of their groups.
pub(crate) fn sum_of_groups(isa: Isa, codes: &[[u8; GROUP]], scales: &[f32]) -> f64 {
    let level = |&code: &u8| i32::from(group::LEVELS[usize::from(code)]);
    let sum = |codes: &[u8; GROUP]| match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: both levels have the instructions.
        Isa::Avx2(_) | Isa::Avx512(_) => unsafe { group_avx2::sum_of_levels(codes) },
        _ => codes.iter().map(level).sum::<i32>(),
    };
    let weighted = |(codes, &scale): (_, &f32)| f64::from(sum(codes)) * f64::from(scale);
    codes.iter().zip(scales).map(weighted).sum()
}

/// Quantises an output channel of a weight, filled up to whole groups with zeros, as [`group`] defines it. Gives the sum of
/// levels times scales.
pub(crate) fn quantise_groups(
    isa: Isa,
    x: &[[f32; GROUP]],
    codes: &mut [[u8; GROUP]],
    scales: &mut [f32],
) -> f64 {
    for ((x, codes), scale) in x.iter().zip(&mut *codes).zip(&mut *scales) {
        (*scale, *codes) = match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level has the instructions.
            Isa::Avx2(_) => unsafe { group_avx2::quantise_group(x) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level has the instructions.
            Isa::Avx512(_) => unsafe { group_avx512::quantise_group(x) },
            _ => group::quantise_group(x),
        };
    }
    sum_of_groups(isa, codes, scales)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seq2seq_core::{conformance::values::Random, quant::row};

    fn check(x: &[f32]) {
        let (mut channel_q, mut row_q) = (vec![0; x.len()], vec![0; x.len()]);
        let channel_scale = channel::quantise(x, &mut channel_q);
        let Affine { scale, zero, .. } = row::quantise(x, &mut row_q);
        for isa in Isa::available() {
            let mut got = vec![1_i8; x.len()];
            let (got_scale, got_sum) = quantise_channel(isa, x, &mut got);
            assert_eq!(got_sum, got.iter().map(|&q| i32::from(q)).sum::<i32>(), "{isa}");
            assert_eq!(got_scale.to_bits(), channel_scale.to_bits(), "{isa}");
            assert_eq!(got, channel_q, "{isa}");

            let (mut u8s, mut i8s) = (vec![1_u8; x.len()], vec![1_i8; x.len()]);
            let mut i16s = vec![1_i16; x.len()];
            let tails = [
                (quantise_row(isa, x, &mut u8s), zero),
                (quantise_row(isa, x, &mut i8s), zero - 128),
                (quantise_row(isa, x, &mut i16s), 0),
            ];
            for ((got_zero, got_scale), zero) in tails {
                assert_eq!((got_zero, got_scale.to_bits()), (zero, scale.to_bits()), "{isa}");
            }
            for (i, &q) in row_q.iter().enumerate() {
                let q = i32::from(q);
                let got = (i32::from(u8s[i]), i32::from(i8s[i]), i32::from(i16s[i]));
                assert_eq!(got, (q, q - 128, q - zero), "{isa} {}", x[i]);
            }
        }
    }

    #[test]
    fn follows_the_definition_at_every_level() {
        let wave = |n: usize, size: f32, shift: f32| -> Vec<f32> {
            (0..n).map(|i| ((i * 37 % 101) as f32 - shift) * size).collect()
        };
        for n in [0, 1, 7, 16, 33, 768] {
            for shift in [50.0, 0.0, 100.0, 13.0, 300.0] {
                for size in [0.01, 1e30, 1e-37, 1e-44] {
                    check(&wave(n, size, shift));
                }
            }
        }
        check(&[127.0, 0.5, 1.5, -2.5, -127.0, 126.5]);
        check(&[-1.0, 0.5, 1.5, 2.5, 253.0, 126.5]);
    }

    #[test]
    fn groups_follow_the_definition_at_every_level() {
        for size in [0.01, 1e30, 1e-36, 1e-44] {
            let wave = |i: usize, k: usize| ((i * 37 + k * 61) % 101) as f32 - 43.0;
            let x: Vec<[f32; GROUP]> =
                (0..20).map(|i| std::array::from_fn(|k| wave(i, k).powi(3) * size)).collect();
            let (mut want_codes, mut want_scales) = (vec![0; 20 * GROUP], vec![0.0; 20]);
            group::quantise(x.as_flattened(), &mut want_codes, &mut want_scales);
            let levels = want_codes.chunks(GROUP).zip(&want_scales).map(|(codes, &scale)| {
                let sum = |c: &u8| f64::from(group::LEVELS[usize::from(*c)]) * f64::from(scale);
                codes.iter().map(sum).sum::<f64>()
            });
            let want: f64 = levels.sum();
            for isa in Isa::available() {
                let (mut codes, mut scales) = (vec![[0; GROUP]; 20], vec![0.0; 20]);
                let got = quantise_groups(isa, &x, &mut codes, &mut scales);
                assert_eq!((codes.as_flattened(), &scales), (&want_codes[..], &want_scales));
                assert!((got - want).abs() <= 1e-12 * want.abs(), "{isa}: {got} not {want}");
            }
        }
    }

    /// The largest value at every place and of either sign, groups that tie, small ones beside large ones: bits are the same.
    #[test]
    fn groups_of_random_values_have_the_bits_of_the_definition() {
        let mut random = Random::new(7);
        for i in 0..if cfg!(miri) { 40 } else { 40_000 } {
            let size = f32::powi(10.0, i % 61 - 30);
            let mut x: [f32; GROUP] = std::array::from_fn(|_| random.normal() as f32 * size);
            match i % 5 {
                0 => x = x.map(|v| (v / size).round() * size),
                1 => x[random.below(GROUP)] = -x[0],
                2 => x = x.map(|v| v.signum() * size),
                _ => {}
            }
            let (scale, codes) = group::quantise_group(&x);
            for isa in Isa::available() {
                let (mut got_codes, mut got_scales) = ([[0; GROUP]], [0.0]);
                let sum = quantise_groups(isa, &[x], &mut got_codes, &mut got_scales);
                assert_eq!(got_scales[0].to_bits(), scale.to_bits(), "{isa}: {x:?}");
                assert_eq!(got_codes[0], codes, "{isa}: {x:?}");
                assert_eq!(sum, sum_of_groups(Isa::Scalar, &[codes], &[scale]), "{isa}: {x:?}");
            }
        }
    }

    #[test]
    fn a_run_that_is_not_finite_has_scale_nan() {
        let mut x = vec![1.0; 40];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0xffff_ffff)] {
            x[17] = bad;
            check(&x);
        }
    }
}
