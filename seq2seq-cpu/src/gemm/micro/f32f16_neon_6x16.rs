//! f16 weights converted to f32 in registers, which is exact: the sums are those of f32 to the bit. Two loads of 8 columns
//! give four vectors of 4.

use super::{Dot, Element, Layout, Weight};
use std::arch::aarch64::*;

struct Half;

impl Dot<4> for Half {
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
            let [a, b] = [0, 16].map(|at| vreinterpretq_f16_u8(vld1q_u8(w.add(at))));
            [
                vcvt_f32_f16(vget_low_f16(a)),
                vcvt_high_f32_f16(a),
                vcvt_f32_f16(vget_low_f16(b)),
                vcvt_high_f32_f16(b),
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
    "f32f16_neon_6x16": Half, Element::F32, Layout::plain(16, 1, Weight::F16), rows [1 2 3 4 5 6]
}
