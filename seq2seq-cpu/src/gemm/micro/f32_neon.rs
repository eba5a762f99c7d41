//! Rows and sums of f32 on NEON, whatever the weights are stored as. One fused multiply-add a lane.

use super::{Dot, chain::Widen};
use std::arch::aarch64::*;
use std::marker::PhantomData;

pub(super) struct F32Rows<W>(PhantomData<W>);

impl<W: Widen<float32x4_t, 4>> Dot<4> for F32Rows<W> {
    type Sum = float32x4_t;
    type Weights = float32x4_t;
    type Lhs = float32x4_t;
    const LANES: usize = 4;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = W::PANEL_BYTES;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller has the instructions.
        unsafe { [vdupq_n_f32(0.0); 4] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller's promise.
        unsafe { W::widen(w) }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> float32x4_t {
        // SAFETY: the caller has the instructions and 4 bytes.
        unsafe { vdupq_n_f32(x.cast::<f32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(sum: float32x4_t, x: float32x4_t, w: float32x4_t) -> float32x4_t {
        // SAFETY: the caller has the instructions.
        unsafe { vfmaq_f32(sum, x, w) }
    }

    #[inline(always)]
    unsafe fn store(sum: float32x4_t, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 4 values.
        unsafe { vst1q_f32(to, sum) }
    }
}
