//! f16 weights converted to f32 in registers by F16C, which is exact: the sums are those of f32 to the bit. Two vectors of 8
//! columns, each converted from 16 bytes as it is loaded.

use super::{Dot, Element, Layout, Weight};
use std::arch::x86_64::*;

struct Half;

impl Dot<2> for Half {
    type Sum = __m256;
    type Weights = __m256;
    type Lhs = __m256;
    const LANES: usize = 8;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [__m256; 2] {
        // SAFETY: the caller has the instructions.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [__m256; 2] {
        // SAFETY: the caller has the instructions and 32 bytes.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(w.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(w.add(16).cast())),
            ]
        }
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
    #[target_feature(enable = "avx2,fma,f16c")]
    "f32f16_avx2_6x16": Half, Element::F32, Layout::plain(16, 1, Weight::F16), rows [1 2 3 4 5 6]
}
