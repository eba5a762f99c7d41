//! f16 weights converted to f32 in registers, which is exact: the sums are those of f32 to the bit. Two loads of 8 columns
//! give four vectors of 4.

use super::{Element, Layout, Weight, chain::Widen, f32_neon::F32Rows};
use std::arch::aarch64::*;

struct Half;

impl Widen<float32x4_t, 4> for Half {
    const PANEL_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [float32x4_t; 4] {
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
}

micro_kernel! {
    #[target_feature(enable = "neon")]
    "f32f16_neon_6x16": F32Rows<Half>, Element::F32, Layout::plain(16, 1, Weight::F16),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
