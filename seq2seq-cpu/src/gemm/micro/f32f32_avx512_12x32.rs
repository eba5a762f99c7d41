//! f32 by f32: one fused multiply-add a lane. Two vectors of 16 columns; 24 sums, 2 weights and a broadcast of 32 registers.

use super::{Element, Layout, Weight, chain::Widen, f32_avx512::F32Rows};
use std::arch::x86_64::*;

struct F32;

impl Widen<__m512, 2> for F32 {
    const PANEL_BYTES: usize = 128;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions and 128 bytes.
        unsafe { [_mm512_loadu_ps(w.cast()), _mm512_loadu_ps(w.add(64).cast())] }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    "f32f32_avx512_12x32": F32Rows<F32>, Element::F32, Layout::plain(32, 1, Weight::F32),
    rows [1 2 3 4 5 6 7 8 9 10 11 12], shares [6 7 8 9 10 11 12], pairs [5 6]
}
