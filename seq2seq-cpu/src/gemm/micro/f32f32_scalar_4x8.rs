//! f32 by f32 in plain Rust: a product, then a sum, each rounded.

use super::{Element, Layout, Weight, chain::Widen, f32_scalar::F32Rows};

struct F32;

impl Widen<[f32; 8], 1> for F32 {
    const PANEL_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [[f32; 8]; 1] {
        // SAFETY: the caller has 32 bytes.
        [unsafe { w.cast::<[f32; 8]>().read_unaligned() }]
    }
}

micro_kernel! {
    "f32f32_scalar_4x8": F32Rows<F32>, Element::F32, Layout::plain(8, 1, Weight::F32),
    rows [1 2 3 4], shares [2 3 4]
}
