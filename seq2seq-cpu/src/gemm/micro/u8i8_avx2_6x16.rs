//! int8 by AVX-VNNI: as `u8i8_avx512_12x32`, eight lanes wide.

use super::{Dot, Element, Layout, Weight};
use std::arch::x86_64::*;

/// Its instructions, which int4 uses too.
pub(super) struct Vnni;

impl Dot<2> for Vnni {
    type Sum = __m256i;
    type Weights = __m256i;
    type Lhs = __m256i;
    const LANES: usize = 8;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller has the instructions, a header of 16 i32, and an i32.
        unsafe {
            let (zero, [a, b]) = (Self::lhs(zero), Self::weights(header));
            [_mm256_mullo_epi32(zero, a), _mm256_mullo_epi32(zero, b)]
        }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller has the instructions and 64 bytes.
        unsafe { [_mm256_loadu_si256(w.cast()), _mm256_loadu_si256(w.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> __m256i {
        // SAFETY: the caller has the instructions and 4 bytes.
        unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_dpbusd_avx_epi32(sum, x, w) }
    }

    #[inline(always)]
    unsafe fn store(sum: __m256i, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 8 values.
        unsafe { _mm256_storeu_ps(to, _mm256_cvtepi32_ps(sum)) }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx2,avxvnni")]
    "u8i8_avx2_6x16": Vnni, Element::U8, Layout::summed(16, 4, Weight::I8),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
