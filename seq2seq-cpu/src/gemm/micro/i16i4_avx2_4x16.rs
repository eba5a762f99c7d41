//! int4 by `vpmaddwd`: codes become levels in a shuffle, which are widened and multiplied as in `i16i8_avx2_6x16`.
//!
//! A level is widened to 256 times itself: as the upper byte of a word whose lower byte is zero, which takes half of the
//! instructions that keeping its sign would. The sum of a group is below 2²⁸ then, and exact as f32 all the same; 1/256 of its
//! scale, a bf16, is exact too, however small.

use super::{
    Dot, Element, Layout, f32bf16_avx2_6x16::Widened, grouped::Grouped, i16i8_avx2_6x16::Pairs,
};
use seq2seq_core::quant::group::LEVELS;
use std::arch::x86_64::*;

struct Codes;

impl Grouped<2> for Codes {
    type Int8 = Pairs;
    type Scaled = Widened;
    const UNIT: usize = 4;
    const STEPS: usize = 2;
    const CODE_BYTES: usize = 32;
    const TOTALS_KEPT: usize = 0;

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
    unsafe fn levels(codes: *const u8, step: usize) -> [__m256i; 2] {
        // SAFETY: the caller has the instructions and 32 bytes.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(LEVELS.as_ptr().cast()));
            let (both, low) = (_mm256_loadu_si256(codes.cast()), _mm256_set1_epi8(15));
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
            let bytes = [
                _mm256_shuffle_epi8(table, _mm256_and_si256(both, low)),
                _mm256_shuffle_epi8(table, high),
            ];
            // Of each word the lower byte belongs to the first step, the upper one to the second.
            match step {
                0 => [_mm256_slli_epi16::<8>(bytes[0]), _mm256_slli_epi16::<8>(bytes[1])],
                _ => {
                    let upper = _mm256_set1_epi16(0xff00_u16 as i16);
                    [_mm256_and_si256(bytes[0], upper), _mm256_and_si256(bytes[1], upper)]
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn float(sum: __m256i) -> __m256 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_cvtepi32_ps(sum) }
    }

    #[inline(always)]
    unsafe fn scales(scales: *const u8) -> [__m256; 2] {
        // SAFETY: the caller has the instructions and 32 bytes.
        unsafe {
            let ([a, b], part) = (Widened::weights(scales), _mm256_set1_ps(1.0 / 256.0));
            [_mm256_mul_ps(a, part), _mm256_mul_ps(b, part)]
        }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx2,fma")]
    "i16i4_avx2_4x16": grouped Codes, Element::I16, Layout::grouped(16, 4, 8, false).by_pairs(),
    rows [1 2 3 4], shares [2 3 4]
}
