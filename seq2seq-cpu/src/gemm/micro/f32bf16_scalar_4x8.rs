//! bf16 weights in plain Rust: widened, then a product and a sum.

use super::{Dot, Element, Layout, Weight};
use std::array::from_fn;

/// Its instructions, which int4 uses for its scales.
pub(super) struct Widened;

impl Dot<1> for Widened {
    type Sum = [f32; 8];
    type Weights = [f32; 8];
    type Lhs = [f32; 8];
    const LANES: usize = 8;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 16;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [[f32; 8]; 1] {
        [[0.0; 8]]
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [[f32; 8]; 1] {
        // SAFETY: the caller has 16 bytes.
        let bits = unsafe { w.cast::<[u16; 8]>().read_unaligned() };
        [bits.map(|b| f32::from_bits(u32::from(b) << 16))]
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> [f32; 8] {
        // SAFETY: the caller has 4 bytes.
        [unsafe { x.cast::<f32>().read_unaligned() }; 8]
    }

    #[inline(always)]
    unsafe fn dot(sum: [f32; 8], x: [f32; 8], w: [f32; 8]) -> [f32; 8] {
        from_fn(|i| sum[i] + x[i] * w[i])
    }

    #[inline(always)]
    unsafe fn store(sum: [f32; 8], to: *mut f32) {
        // SAFETY: the caller has room for 8 values.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(sum) }
    }
}

micro_kernel! {
    "f32bf16_scalar_4x8": Widened, Element::Rounded, Layout::plain(8, 1, Weight::Bf16), rows [1 2 3 4]
}
