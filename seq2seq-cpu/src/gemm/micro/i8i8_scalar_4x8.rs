//! int8 in plain Rust: 16-bit products, which are exact, added as i32. Activations are stored less 128, and each sum
//! starts from the rest of the zero point.

use super::{Dot, Element, Layout, Weight};
use std::array::from_fn;

/// Its instructions, which int4 uses too.
pub(super) struct Products;

impl Dot<1> for Products {
    type Sum = [i32; 8];
    type Weights = [i16; 8];
    type Lhs = i16;
    const LANES: usize = 8;
    const LHS_BYTES: usize = 1;
    const PANEL_BYTES: usize = 8;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [[i32; 8]; 1] {
        // SAFETY: the caller has a header of 8 i32, and an i32.
        let (sums, zero) = unsafe {
            (header.cast::<[i32; 8]>().read_unaligned(), zero.cast::<i32>().read_unaligned())
        };
        [sums.map(|sum| sum.wrapping_mul(zero))]
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [[i16; 8]; 1] {
        // SAFETY: the caller has 8 bytes.
        [unsafe { w.cast::<[i8; 8]>().read() }.map(i16::from)]
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> i16 {
        // SAFETY: the caller has a byte.
        i16::from(unsafe { x.cast::<i8>().read() })
    }

    #[inline(always)]
    unsafe fn dot(sum: [i32; 8], x: i16, w: [i16; 8]) -> [i32; 8] {
        from_fn(|i| sum[i].wrapping_add(i32::from(x * w[i])))
    }

    #[inline(always)]
    unsafe fn store(sum: [i32; 8], to: *mut f32) {
        // SAFETY: the caller has room for 8 values.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(sum.map(|v| v as f32)) }
    }
}

micro_kernel! {
    "i8i8_scalar_4x8": Products, Element::I8, Layout::summed(8, 1, Weight::I8),
    rows [1 2 3 4], shares [2 3 4]
}
