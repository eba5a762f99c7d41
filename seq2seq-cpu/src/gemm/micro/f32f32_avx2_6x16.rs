//! f32 by f32: one fused multiply-add a lane. Two vectors of 8 columns; 12 sums, 2 weights and a broadcast of 16 registers.

use super::{Dot, Element, Layout, Weight};
use std::arch::x86_64::*;

struct F32;

impl Dot<2> for F32 {
    type Sum = __m256;
    type Weights = __m256;
    type Lhs = __m256;
    const LANES: usize = 8;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [__m256; 2] {
        // SAFETY: the caller has the instructions.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [__m256; 2] {
        // SAFETY: the caller has the instructions and 64 bytes.
        unsafe { [_mm256_loadu_ps(w.cast()), _mm256_loadu_ps(w.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> __m256 {
        // SAFETY: the caller has the instructions and 4 bytes.
        unsafe { _mm256_set1_ps(x.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m256, x: __m256, w: __m256) -> __m256 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_fmadd_ps(x, w, sum) }
    }

    #[inline(always)]
    unsafe fn store(sum: __m256, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 8 values.
        unsafe { _mm256_storeu_ps(to, sum) }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx2,fma")]
    "f32f32_avx2_6x16": F32, Element::F32, Layout::plain(16, 1, Weight::F32), rows [1 2 3 4 5 6]
}
