//! f32 by f32: one fused multiply-add a lane. Two vectors of 8 columns; 12 sums, 2 weights and a broadcast of 16 registers.

use super::{Element, Layout, Weight, chain::Widen, f32_avx2::F32Rows};
use std::arch::x86_64::*;

struct F32;

impl Widen<__m256, 2> for F32 {
    const PANEL_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [__m256; 2] {
        // SAFETY: the caller has the instructions and 64 bytes.
        unsafe { [_mm256_loadu_ps(w.cast()), _mm256_loadu_ps(w.add(32).cast())] }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx2,fma")]
    "f32f32_avx2_6x16": F32Rows<F32>, Element::F32, Layout::plain(16, 1, Weight::F32),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
