//! bf16 weights widened to f32 in registers, as a bf16 is the upper half of an f32. Columns c and c + 8 share 4 bytes,
//! so that two loads, two shifts and two masks give four vectors.

use super::{Dot, Element, Layout, Weight};
use std::arch::aarch64::*;

/// Its instructions, which int4 uses for its scales.
pub(super) struct Widened;

impl Dot<4> for Widened {
    type Sum = float32x4_t;
    type Weights = float32x4_t;
    type Lhs = float32x4_t;
    const LANES: usize = 4;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller has the instructions.
        unsafe { [vdupq_n_f32(0.0); 4] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller has the instructions and 32 bytes; the loads take any alignment as bytes.
        unsafe {
            let both = [0, 16].map(|at| vreinterpretq_u32_u8(vld1q_u8(w.add(at))));
            let upper = vdupq_n_u32(0xffff_0000);
            [
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(both[0])),
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(both[1])),
                vreinterpretq_f32_u32(vandq_u32(both[0], upper)),
                vreinterpretq_f32_u32(vandq_u32(both[1], upper)),
            ]
        }
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
    "f32bf16_neon_6x16": Widened, Element::Rounded, Layout::interleaved(16, 8, Weight::Bf16),
    rows [1 2 3 4 5 6]
}
