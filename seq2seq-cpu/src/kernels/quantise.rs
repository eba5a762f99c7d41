//! Symmetric int8 quantisation of a run of values, as [`seq2seq_core::quant`] defines it, to the bit.
//!
//! Plain loops, which the compiler vectorises for each level.

use crate::{isa::Isa, simd};
use seq2seq_core::quant;

/// How a value of -127..=127 is stored.
pub(crate) trait Quantised: Copy {
    /// From an integer whose low bits are those of the value in two's complement.
    fn from_low_bits(bits: u32) -> Self;
}

impl Quantised for i8 {
    #[inline(always)]
    fn from_low_bits(bits: u32) -> i8 {
        bits as i8
    }
}

impl Quantised for i16 {
    #[inline(always)]
    fn from_low_bits(bits: u32) -> i16 {
        bits as i16
    }
}

/// With 128 added, which for bytes is a flip of the sign bit.
impl Quantised for u8 {
    #[inline(always)]
    fn from_low_bits(bits: u32) -> u8 {
        bits as u8 ^ 0x80
    }
}

struct Quantise<'a, Q> {
    x: &'a [f32],
    out: &'a mut [Q],
}

impl<Q: Quantised> simd::Kernel for Quantise<'_, Q> {
    type Output = f32;

    #[inline(always)]
    fn run<S: simd::Simd>(self, _: S) -> f32 {
        /// 1.5 · 2²³: in its binade the distance of f32 is 1, so that adding it rounds to an integer, ties to even,
        /// which then stands in the low bits; and these are zero in the constant.
        const SHIFT: f32 = 12_582_912.0;
        // The bit patterns of magnitudes are ordered as the magnitudes are, NaN last.
        let largest = self.x.iter().fold(0, |a, x| (x.to_bits() & 0x7fff_ffff).max(a));
        let (scale, inverse) = quant::scale_and_inverse(f32::from_bits(largest));
        if scale.is_nan() {
            self.out.fill(Q::from_low_bits(0));
            return scale;
        }
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            *out = Q::from_low_bits((x * inverse + SHIFT).to_bits());
        }
        scale
    }
}

/// Quantises `x` into the first values of `out` and gives the scale: as i8, as i16, or as u8 with 128 added.
pub(crate) fn quantise<Q: Quantised>(isa: Isa, x: &[f32], out: &mut [Q]) -> f32 {
    simd::dispatch(isa, Quantise { x, out })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(x: &[f32]) {
        let mut want = vec![0; x.len()];
        let scale = quant::quantise(x, &mut want);
        for isa in Isa::available() {
            let (mut bytes, mut words) = (vec![1_i8; x.len()], vec![1_i16; x.len()]);
            let mut offset = vec![1_u8; x.len()];
            let got = [
                quantise(isa, x, &mut bytes),
                quantise(isa, x, &mut words),
                quantise(isa, x, &mut offset),
            ];
            for scale_got in got {
                assert_eq!(scale_got.to_bits(), scale.to_bits(), "{isa}");
            }
            assert_eq!(bytes, want, "{isa}");
            for (i, &q) in want.iter().enumerate() {
                assert_eq!((words[i], offset[i]), (q.into(), (i16::from(q) + 128) as u8), "{isa}");
            }
        }
    }

    #[test]
    fn follows_the_definition_at_every_level() {
        let wave = |n: usize, size: f32| -> Vec<f32> {
            (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * size).collect()
        };
        for n in [0, 1, 7, 16, 33, 768] {
            check(&wave(n, 0.01));
            check(&wave(n, 1e30));
            check(&wave(n, 1e-37));
            check(&wave(n, 1e-44));
        }
        check(&[127.0, 0.5, 1.5, -2.5, -127.0, 126.5]);
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
