//! f32 by f32: one fused multiply-add a lane. Two vectors of 16 columns; 24 sums, 2 weights and a broadcast of 32 registers.

use super::{Dot, Element, Layout, Weight};
use std::arch::x86_64::*;

struct F32;

impl Dot<2> for F32 {
    type Sum = __m512;
    type Weights = __m512;
    type Lhs = __m512;
    const LANES: usize = 16;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 128;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions.
        unsafe { [_mm512_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions and 128 bytes.
        unsafe { [_mm512_loadu_ps(w.cast()), _mm512_loadu_ps(w.add(64).cast())] }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> __m512 {
        // SAFETY: the caller has the instructions and 4 bytes.
        unsafe { _mm512_set1_ps(x.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m512, x: __m512, w: __m512) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_fmadd_ps(x, w, sum) }
    }

    #[inline(always)]
    unsafe fn store(sum: __m512, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 16 values.
        unsafe { _mm512_storeu_ps(to, sum) }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    "f32f32_avx512_12x32": F32, Element::F32, Layout::plain(32, 1, Weight::F32),
    rows [1 2 3 4 5 6 7 8 9 10 11 12]
}
