//! bf16 weights widened to f32 in registers, as a bf16 is the upper half of an f32. Columns c and c + 8 share 4 bytes,
//! so that two loads, two shifts and two masks give four vectors.

use super::{Element, Layout, Weight, chain::Widen, f32_neon::F32Rows};
use std::arch::aarch64::*;

pub(super) struct Bf16;

/// Its instructions, which int4 uses for its scales.
pub(super) type Widened = F32Rows<Bf16>;

impl Widen<float32x4_t, 4> for Bf16 {
    const PANEL_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [float32x4_t; 4] {
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
}

micro_kernel! {
    #[target_feature(enable = "neon")]
    "f32bf16_neon_6x16": Widened, Element::Rounded, Layout::interleaved(16, 8, Weight::Bf16),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
