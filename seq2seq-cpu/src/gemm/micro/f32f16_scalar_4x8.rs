//! f16 weights in plain Rust: converted, which is exact, then a product and a sum as in f32, so that the bits are those of f32.

use super::{Element, Layout, Weight, chain::Widen, f32_scalar::F32Rows};

struct Half;

/// A number from its f16 bits. Exponents of the two types differ by 112: the shifted bits are those of a number that many
/// powers of two too small, also where it is subnormal. Infinity and NaN, which no weights are, are not given back.
fn widen(bits: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * SCALE;
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

impl Widen<[f32; 8], 1> for Half {
    const PANEL_BYTES: usize = 16;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [[f32; 8]; 1] {
        // SAFETY: the caller has 16 bytes.
        [unsafe { w.cast::<[u16; 8]>().read_unaligned() }.map(widen)]
    }
}

micro_kernel! {
    "f32f16_scalar_4x8": F32Rows<Half>, Element::F32, Layout::plain(8, 1, Weight::F16),
    rows [1 2 3 4], shares [2 3 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_widened() {
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00) {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
            let leading = if exponent == 0 { 0.0 } else { 1024.0 };
            let magnitude = (leading + fraction) * 2f64.powi(exponent.max(1) - 25);
            let want = if bits >> 15 == 1 { -magnitude } else { magnitude } as f32;
            assert_eq!(widen(bits).to_bits(), want.to_bits(), "{bits:#06x}");
        }
    }
}
