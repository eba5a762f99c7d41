//! bf16 weights widened to f32 in registers, as a bf16 is the upper half of an f32. Columns c and c + 8 share 4 bytes,
//! so that one load, one shift and one mask give two vectors.

use super::{Dot, Element, Layout, Weight};
use std::arch::x86_64::*;

/// Its instructions, which int4 uses for its scales.
pub(super) struct Widened;

impl Dot<2> for Widened {
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
            let both = _mm256_loadu_si256(w.cast());
            let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(both)),
                _mm256_castsi256_ps(_mm256_and_si256(both, upper)),
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
    #[target_feature(enable = "avx2,fma")]
    "f32bf16_avx2_6x16": Widened, Element::Rounded, Layout::interleaved(16, 8, Weight::Bf16),
    rows [1 2 3 4 5 6]
}
