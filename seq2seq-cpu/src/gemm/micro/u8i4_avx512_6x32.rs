//! int4 by VNNI: codes become levels in a shuffle, `vpdpbusd` multiplies them with u8 as they were quantised.

use super::{
    Dot, Element, Layout, f32bf16_avx512_12x32::Widened, grouped::Grouped, u8i8_avx512_12x32::Vnni,
};
use seq2seq_core::quant::group::LEVELS;
use std::arch::x86_64::*;

pub(super) struct Codes;

impl Grouped<2> for Codes {
    type Int8 = Vnni;
    type Scaled = Widened;
    const UNIT: usize = 4;
    const CODE_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions, a header of 32 f32, and an i32.
        unsafe {
            let zero = _mm512_cvtepi32_ps(Vnni::lhs(zero));
            let (a, b) =
                (_mm512_loadu_ps(header.cast()), _mm512_loadu_ps(header.cast::<f32>().add(16)));
            [_mm512_mul_ps(zero, a), _mm512_mul_ps(zero, b)]
        }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn levels(codes: *const u8, _: usize) -> [__m512i; 2] {
        // SAFETY: the caller has the instructions and 64 bytes.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(LEVELS.as_ptr().cast()));
            let (both, low) = (_mm512_loadu_si512(codes.cast()), _mm512_set1_epi8(15));
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
            [
                _mm512_shuffle_epi8(table, _mm512_and_si512(both, low)),
                _mm512_shuffle_epi8(table, high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn float(sum: __m512i) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_cvtepi32_ps(sum) }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    "u8i4_avx512_6x32": grouped Codes, Element::U8, Layout::grouped(32, 4, 16, true),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
