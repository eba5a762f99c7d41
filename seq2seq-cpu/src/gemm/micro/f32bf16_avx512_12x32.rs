//! bf16 weights for machines without the bf16 dot product: widened to f32 in registers, as a bf16 is the upper half
//! of an f32. Columns c and c + 16 share 4 bytes, so that one load, one shift and one mask give two vectors.

use super::{Dot, Element, Layout, Weight};
use std::arch::x86_64::*;

/// Its instructions, which int4 uses for its scales.
pub(super) struct Widened;

impl Dot<2> for Widened {
    type Sum = __m512;
    type Weights = __m512;
    type Lhs = __m512;
    const LANES: usize = 16;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions.
        unsafe { [_mm512_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions and 64 bytes.
        unsafe {
            let both = _mm512_loadu_si512(w.cast());
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            [
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(both)),
                _mm512_castsi512_ps(_mm512_and_si512(both, upper)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> __m512 {
        // SAFETY: the caller has the instructions and 4 bytes.
        unsafe { _mm512_set1_ps(x.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m512, x: __m512, w: __m512) -> __m512 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_fmadd_ps(x, w, sum) }
    }

    #[inline(always)]
    unsafe fn store(sum: __m512, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 16 values.
        unsafe { _mm512_storeu_ps(to, sum) }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    "f32bf16_avx512_12x32": Widened, Element::Rounded, Layout::interleaved(32, 16, Weight::Bf16),
    rows [1 2 3 4 5 6 7 8 9 10 11 12]
}
