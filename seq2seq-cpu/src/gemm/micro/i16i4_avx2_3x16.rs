//! int4 by `vpmaddwd`: codes become levels in a shuffle, which are widened and multiplied as in `i16i8_avx2_6x16`.

use super::{
    Dot, Element, Layout, f32bf16_avx2_6x16::Widened, grouped::Grouped, i16i8_avx2_6x16::Pairs,
};
use seq2seq_core::quant::group::LEVELS;
use std::arch::x86_64::*;

struct Codes;

impl Grouped<2> for Codes {
    type Int8 = Pairs;
    type Scaled = Widened;
    const UNIT: usize = 2;
    const CODE_BYTES: usize = 16;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [__m256; 2] {
        // SAFETY: the caller has the instructions.
        unsafe { Widened::start(header, zero) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn levels(codes: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller has the instructions and 16 bytes.
        unsafe {
            let table = _mm_loadu_si128(LEVELS.as_ptr().cast());
            let (both, low) = (_mm_loadu_si128(codes.cast()), _mm_set1_epi8(15));
            let high = _mm_and_si128(_mm_srli_epi16::<4>(both), low);
            [
                _mm256_cvtepi8_epi16(_mm_shuffle_epi8(table, _mm_and_si128(both, low))),
                _mm256_cvtepi8_epi16(_mm_shuffle_epi8(table, high)),
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
    #[target_feature(enable = "avx2,fma")]
    "i16i4_avx2_3x16": grouped Codes, Element::I16, Layout::grouped(16, 2, 8, false),
    rows [1 2 3]
}
