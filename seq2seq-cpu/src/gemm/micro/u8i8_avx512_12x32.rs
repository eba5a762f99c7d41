//! int8 by VNNI: `vpdpbusd` adds four products of an unsigned and a signed byte to an i32.
//!
//! Activations are the unsigned operand, as quantised, with the zero point z; each sum starts from -z times the sum of its
//! weights. Intermediate sums may wrap, the final one is exact.

use super::{Dot, Element, Layout, Weight};
use std::arch::x86_64::*;

/// Its instructions, which int4 uses too.
pub(super) struct Vnni;

impl Dot<2> for Vnni {
    type Sum = __m512i;
    type Weights = __m512i;
    type Lhs = __m512i;
    const LANES: usize = 16;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 128;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [__m512i; 2] {
        // SAFETY: the caller has the instructions, a header of 32 i32, and an i32.
        unsafe {
            let (zero, [a, b]) = (Self::lhs(zero), Self::weights(header));
            [_mm512_mullo_epi32(zero, a), _mm512_mullo_epi32(zero, b)]
        }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [__m512i; 2] {
        // SAFETY: the caller has the instructions and 128 bytes.
        unsafe { [_mm512_loadu_si512(w.cast()), _mm512_loadu_si512(w.add(64).cast())] }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> __m512i {
        // SAFETY: the caller has the instructions and 4 bytes.
        unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m512i, x: __m512i, w: __m512i) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_dpbusd_epi32(sum, x, w) }
    }

    #[inline(always)]
    unsafe fn store(sum: __m512i, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 16 values.
        unsafe { _mm512_storeu_ps(to, _mm512_cvtepi32_ps(sum)) }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
    "u8i8_avx512_12x32": Vnni, Element::U8, Layout::summed(32, 4, Weight::I8),
    rows [1 2 3 4 5 6 7 8 9 10 11 12], shares [6 7 8 9 10 11 12], pairs [5 6]
}
