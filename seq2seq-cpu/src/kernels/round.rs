//! Rounding to bf16: to the nearest, ties to even; beyond the largest to infinity, NaN to NaN.
//!
//! A bf16 is the upper half of an f32, so rounding is an addition to the bits that carries into the upper half. Plain
//! loops, which the compiler vectorises for each level.

use crate::{isa::Isa, simd};

/// The upper half of the bits of `x`, rounded.
#[inline(always)]
fn upper_half(x: f32) -> u32 {
    let bits = x.to_bits();
    let even = bits >> 16 & 1;
    // A NaN might carry into infinity or past the sign: it is cut off instead, and kept quiet.
    let rounded = if x.is_nan() { bits | 0x0040_0000 } else { bits.wrapping_add(0x7fff + even) };
    rounded >> 16
}

/// How a rounded value is stored.
pub(crate) trait FromUpperHalf: Copy {
    /// From the 16 bits of a bf16.
    fn from_upper_half(bits: u32) -> Self;
}

impl FromUpperHalf for u16 {
    #[inline(always)]
    fn from_upper_half(bits: u32) -> u16 {
        bits as u16
    }
}

impl FromUpperHalf for f32 {
    #[inline(always)]
    fn from_upper_half(bits: u32) -> f32 {
        f32::from_bits(bits << 16)
    }
}

struct Round<'a, T> {
    x: &'a [f32],
    out: &'a mut [T],
}

impl<T: FromUpperHalf> simd::Kernel for Round<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: simd::Simd>(self, _: S) {
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            *out = T::from_upper_half(upper_half(x));
        }
    }
}

/// Rounds `x` into the first values of `out`: as bf16 bits (u16), or as f32.
pub(crate) fn round<T: FromUpperHalf>(isa: Isa, x: &[f32], out: &mut [T]) {
    simd::dispatch(isa, Round { x, out });
}

#[cfg(test)]
mod tests {
    use super::*;

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
