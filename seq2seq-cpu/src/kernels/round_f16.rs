//! Rounding to f16: to the nearest, ties to even; beyond the largest to infinity, NaN to NaN.
//!
//! Plain loops without a branch, which the compiler vectorises for each level.

use crate::{isa::Isa, simd};

/// From here on numbers round to infinity in f16: the middle between its largest, 65504, and the next power of two.
pub(crate) const F16_LIMIT: f32 = 65520.0;

/// The bits of the f16 that is nearest to `x`.
#[inline(always)]
fn bits(x: f32) -> u16 {
    const INFINITY: u32 = 0x7c00;
    let sign = x.to_bits() >> 16 & 0x8000;
    let magnitude = x.to_bits() & 0x7fff_ffff;
    // Normal in f16: exponents differ by 112, fractions by 13 bits. The addition rounds, and may carry into the exponent.
    let even = magnitude >> 13 & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + even) >> 13;
    // Subnormal in f16: a multiple of 2^-24, which is what the last place of a number from 1/2 to 1 counts.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let rounded = if magnitude < (127 - 14) << 23 { subnormal } else { normal.min(INFINITY) };
    let rounded = if x.is_nan() { INFINITY | 0x200 } else { rounded };
    (sign | rounded) as u16
}

struct Round<'a> {
    x: &'a [f32],
    out: &'a mut [u16],
}

impl simd::Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: simd::Simd>(self, _: S) {
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            *out = bits(x);
        }
    }
}

/// Rounds `x` into the first values of `out`, which are bits of f16.
pub(crate) fn round_f16(isa: Isa, x: &[f32], out: &mut [u16]) {
    simd::dispatch(isa, Round { x, out });
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    /// Numbers of every exponent whose fractions stand at and beside the places where rounding turns.
    fn numbers() -> Vec<f32> {
        let fractions = (0..1u32 << 14).step_by(37).flat_map(|f| {
            let turn = f << 9 & 0x7f_e000;
            [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff].map(|low| turn | low)
        });
        let fractions: Vec<u32> = fractions.chain([0x7f_ffff, 0x7f_f000, 0x7f_efff]).collect();
        let exponents = [0, 1, 60].into_iter().chain(98..146).chain([254, 255]);
        let of = |e: u32| fractions.iter().map(move |f| f32::from_bits(e << 23 | f));
        exponents.flat_map(of).flat_map(|x| [x, -x]).collect()
    }

    #[test]
    fn rounds_to_nearest_even_at_every_level() {
        let x = numbers();
        for isa in Isa::available() {
            let mut out = vec![0; x.len()];
            round_f16(isa, &x, &mut out);
            for (&x, &got) in x.iter().zip(&out) {
                let want = f16::from_f32(x);
                match x.is_nan() {
                    true => assert!(f16::from_bits(got).is_nan(), "{isa}: {got:#06x}"),
                    false => assert_eq!(got, want.to_bits(), "{isa}: {x:e}"),
                }
            }
        }
    }

    #[test]
    fn what_is_below_the_limit_stays_finite() {
        let ends = [F16_LIMIT, -F16_LIMIT, F16_LIMIT.next_down(), -F16_LIMIT.next_down()];
        let mut out = [0; 4];
        round_f16(Isa::detect(), &ends, &mut out);
        assert_eq!(out, [0x7c00, 0xfc00, 0x7bff, 0xfbff]);
    }
}
