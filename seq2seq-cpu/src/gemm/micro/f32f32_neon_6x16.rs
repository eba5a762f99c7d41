//! f32 by f32: one fused multiply-add a lane. Four vectors of 4 columns; 24 sums, 4 weights and a broadcast of 32 registers.

use super::{Dot, Element, Layout, Weight};
use std::arch::aarch64::*;

struct F32;

impl Dot<4> for F32 {
    type Sum = float32x4_t;
    type Weights = float32x4_t;
    type Lhs = float32x4_t;
    const LANES: usize = 4;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller has the instructions.
        unsafe { [vdupq_n_f32(0.0); 4] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller has the instructions and 64 bytes; the loads take any alignment as bytes.
        unsafe { [0, 16, 32, 48].map(|at| vreinterpretq_f32_u8(vld1q_u8(w.add(at)))) }
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

micro_kernel! {
    #[target_feature(enable = "neon")]
    "f32f32_neon_6x16": F32, Element::F32, Layout::plain(16, 1, Weight::F32), rows [1 2 3 4 5 6]
}
