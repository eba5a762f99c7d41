//! f32 by f32: one fused multiply-add a lane. Four vectors of 4 columns; 24 sums, 4 weights and a broadcast of 32 registers.

use super::{Element, Layout, Weight, chain::Widen, f32_neon::F32Rows};
use std::arch::aarch64::*;

struct F32;

impl Widen<float32x4_t, 4> for F32 {
    const PANEL_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller has the instructions and 64 bytes; the loads take any alignment as bytes.
        unsafe { [0, 16, 32, 48].map(|at| vreinterpretq_f32_u8(vld1q_u8(w.add(at)))) }
    }
}

micro_kernel! {
    #[target_feature(enable = "neon")]
    "f32f32_neon_6x16": F32Rows<F32>, Element::F32, Layout::plain(16, 1, Weight::F32),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
