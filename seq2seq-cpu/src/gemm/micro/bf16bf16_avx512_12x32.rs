//! bf16 by bf16: `vdpbf16ps` adds two exact products to an f32.
//!
//! Measured on Zen 5, it is two fused multiply-adds, **the odd k of the pair first**; subnormal operands count as zero.

use super::{Dot, Element, Layout, Weight};
use std::arch::x86_64::*;
use std::mem::transmute;

struct Pairs;

impl Dot<2> for Pairs {
    type Sum = __m512;
    type Weights = __m512bh;
    type Lhs = __m512bh;
    const LANES: usize = 16;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 128;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions.
        unsafe { [_mm512_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [__m512bh; 2] {
        // SAFETY: the caller has the instructions and 128 bytes; every bit pattern is 32 bf16.
        unsafe {
            [
                transmute::<__m512i, __m512bh>(_mm512_loadu_si512(w.cast())),
                transmute::<__m512i, __m512bh>(_mm512_loadu_si512(w.add(64).cast())),
            ]
        }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> __m512bh {
        // SAFETY: the caller has the instructions and 4 bytes; every bit pattern is 32 bf16.
        unsafe {
            transmute::<__m512i, __m512bh>(_mm512_set1_epi32(x.cast::<i32>().read_unaligned()))
        }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m512, x: __m512bh, w: __m512bh) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_dpbf16_ps(sum, x, w) }
    }

    #[inline(always)]
    unsafe fn store(sum: __m512, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 16 values.
        unsafe { _mm512_storeu_ps(to, sum) }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
    "bf16bf16_avx512_12x32": Pairs, Element::Bf16, Layout::plain(32, 2, Weight::Bf16),
    rows [1 2 3 4 5 6 7 8 9 10 11 12], shares [6 7 8 9 10 11 12], pairs [5 6]
}
