//! f32 by f32 in plain Rust: a product, then a sum, each rounded.

use super::{Dot, Element, Layout, Weight};
use std::array::from_fn;

struct F32;

impl Dot<1> for F32 {
    type Sum = [f32; 8];
    type Weights = [f32; 8];
    type Lhs = f32;
    const LANES: usize = 8;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [[f32; 8]; 1] {
        [[0.0; 8]]
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [[f32; 8]; 1] {
        // SAFETY: the caller has 32 bytes.
        [unsafe { w.cast::<[f32; 8]>().read_unaligned() }]
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> f32 {
        // SAFETY: the caller has 4 bytes.
        unsafe { x.cast::<f32>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn dot(sum: [f32; 8], x: f32, w: [f32; 8]) -> [f32; 8] {
        from_fn(|i| sum[i] + x * w[i])
    }

    #[inline(always)]
    unsafe fn store(sum: [f32; 8], to: *mut f32) {
        // SAFETY: the caller has room for 8 values.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(sum) }
    }
}

micro_kernel! {
    "f32f32_scalar_4x8": F32, Element::F32, Layout::plain(8, 1, Weight::F32), rows [1 2 3 4]
}
