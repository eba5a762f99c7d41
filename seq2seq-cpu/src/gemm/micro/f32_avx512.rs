//! Rows and sums of f32 on AVX-512, whatever the weights are stored as. One fused multiply-add a lane.

use super::{Dot, chain::Widen};
use std::arch::x86_64::*;
use std::marker::PhantomData;

pub(super) struct F32Rows<W>(PhantomData<W>);

impl<W: Widen<__m512, 2>> Dot<2> for F32Rows<W> {
    type Sum = __m512;
    type Weights = __m512;
    type Lhs = __m512;
    const LANES: usize = 16;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = W::PANEL_BYTES;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions.
        unsafe { [_mm512_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [__m512; 2] {
        // SAFETY: the caller's promise.
        unsafe { W::widen(w) }
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
