//! int8 for the first Armv8: `smull` gives exact 16-bit products, of magnitudes up to 128 · 127, and `sadalp` adds them in
//! pairs to an i32. Activations are stored less 128, and each sum starts from the rest of the zero point.

use super::{Dot, Element, Layout, Weight};
use std::arch::aarch64::*;

/// Its instructions, which int4 uses too.
pub(super) struct Pairs;

impl Dot<4> for Pairs {
    type Sum = int32x4_t;
    type Weights = int8x8_t;
    type Lhs = int8x8_t;
    const LANES: usize = 4;
    const LHS_BYTES: usize = 2;
    const PANEL_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [int32x4_t; 4] {
        // SAFETY: the caller has the instructions, a header of 16 i32, and an i32; the loads take any alignment as bytes.
        unsafe {
            let zero = zero.cast::<i32>().read_unaligned();
            [0, 16, 32, 48]
                .map(|at| vmulq_n_s32(vreinterpretq_s32_u8(vld1q_u8(header.add(at))), zero))
        }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [int8x8_t; 4] {
        // SAFETY: the caller has the instructions and 32 bytes.
        unsafe { [0, 8, 16, 24].map(|at| vld1_s8(w.add(at).cast())) }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> int8x8_t {
        // SAFETY: the caller has the instructions and 2 bytes.
        unsafe { vreinterpret_s8_s16(vdup_n_s16(x.cast::<i16>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn dot(sum: int32x4_t, x: int8x8_t, w: int8x8_t) -> int32x4_t {
        // SAFETY: the caller has the instructions.
        unsafe { vpadalq_s16(sum, vmull_s8(x, w)) }
    }

    #[inline(always)]
    unsafe fn store(sum: int32x4_t, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 4 values.
        unsafe { vst1q_f32(to, vcvtq_f32_s32(sum)) }
    }
}

micro_kernel! {
    #[target_feature(enable = "neon")]
    "i8i8_neon_6x16": Pairs, Element::I8, Layout::summed(16, 2, Weight::I8),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
