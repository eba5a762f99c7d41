//! int4 by AVX-VNNI: as `u8i4_avx512_6x32`, eight lanes wide.

use super::{
    Dot, Element, Layout, f32bf16_avx2_6x16::Widened, grouped::Grouped, u8i8_avx2_6x16::Vnni,
};
use seq2seq_core::quant::group::LEVELS;
use std::arch::x86_64::*;

struct Codes;

impl Grouped<2> for Codes {
    type Int8 = Vnni;
    type Scaled = Widened;
    const UNIT: usize = 4;
    const CODE_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [__m256; 2] {
        // SAFETY: the caller has the instructions, a header of 16 f32, and an i32.
        unsafe {
            let zero = _mm256_cvtepi32_ps(Vnni::lhs(zero));
            let (a, b) =
                (_mm256_loadu_ps(header.cast()), _mm256_loadu_ps(header.cast::<f32>().add(8)));
            [_mm256_mul_ps(zero, a), _mm256_mul_ps(zero, b)]
        }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn levels(codes: *const u8, _: usize) -> [__m256i; 2] {
        // SAFETY: the caller has the instructions and 32 bytes.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(LEVELS.as_ptr().cast()));
            let (both, low) = (_mm256_loadu_si256(codes.cast()), _mm256_set1_epi8(15));
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
            [
                _mm256_shuffle_epi8(table, _mm256_and_si256(both, low)),
                _mm256_shuffle_epi8(table, high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn float(sum: __m256i) -> __m256 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_cvtepi32_ps(sum) }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx2,fma,avxvnni")]
    "u8i4_avx2_3x16": grouped Codes, Element::U8, Layout::grouped(16, 4, 8, true),
    rows [1 2 3], shares [2 3]
}
