//! int4 by VNNI where bytes are looked up in all of a vector (`vpermb`): as `u8i4_avx512_6x32`, but the table holds the levels four
//! times over. The place that a byte names is then the code in its lower half, whatever the upper one holds, and no half has to be
//! masked: three instructions make levels of codes in place of five. Tiles of more than six rows, which leave no registers for totals,
//! make them half as often.

use super::{
    Element, Layout, f32bf16_avx512_12x32::Widened, grouped::Grouped, u8i4_avx512_6x32::Codes,
    u8i8_avx512_12x32::Vnni,
};
use seq2seq_core::quant::group::LEVELS;
use std::arch::x86_64::*;

struct Permuted;

impl Grouped<2> for Permuted {
    type Int8 = Vnni;
    type Scaled = Widened;
    const UNIT: usize = Codes::UNIT;
    const CODE_BYTES: usize = Codes::CODE_BYTES;
    const TOTALS_KEPT: usize = 6;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions, a header of 32 f32, and an i32.
        unsafe { Codes::start(header, zero) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe { Codes::zero() }
    }

    #[inline(always)]
    unsafe fn levels(codes: *const u8, _: usize) -> [__m512i; 2] {
        // SAFETY: the caller has the instructions and 64 bytes.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(LEVELS.as_ptr().cast()));
            let both = _mm512_loadu_si512(codes.cast());
            let high = _mm512_srli_epi16::<4>(both);
            [_mm512_permutexvar_epi8(both, table), _mm512_permutexvar_epi8(high, table)]
        }
    }

    #[inline(always)]
    unsafe fn float(sum: __m512i) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { Codes::float(sum) }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
    "u8i4_avx512vbmi_12x32": grouped Permuted, Element::U8, Layout::grouped(32, 4, 16, true),
    rows [1 2 3 4 5 6 7 8 9 10 11 12], shares [6 7 8 9 10 11 12]
}
