//! Rows and sums of f32 on AVX2, whatever the weights are stored as. One fused multiply-add a lane.

use super::{Dot, chain::Widen};
use std::arch::x86_64::*;
use std::marker::PhantomData;

pub(super) struct F32Rows<W>(PhantomData<W>);

impl<W: Widen<__m256, 2>> Dot<2> for F32Rows<W> {
    type Sum = __m256;
    type Weights = __m256;
    type Lhs = __m256;
    const LANES: usize = 8;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = W::PANEL_BYTES;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [__m256; 2] {
        // SAFETY: the caller has the instructions.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [__m256; 2] {
        // SAFETY: the caller's promise.
        unsafe { W::widen(w) }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> __m256 {
        // SAFETY: the caller has the instructions and 4 bytes.
        unsafe { _mm256_set1_ps(x.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m256, x: __m256, w: __m256) -> __m256 {
        // SAFETY: the caller has the instructions.
        unsafe { _mm256_fmadd_ps(x, w, sum) }
    }

    #[inline(always)]
    unsafe fn store(sum: __m256, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 8 values.
        unsafe { _mm256_storeu_ps(to, sum) }
    }
}
