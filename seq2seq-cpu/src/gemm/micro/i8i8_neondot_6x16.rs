//! int8 by the dot product of Armv8.4: `sdot` adds four products of signed bytes to an i32. Activations are stored less
//! 128, and each sum starts from the rest of the zero point.

use super::{Dot, Element, Layout, Weight};
use std::arch::{aarch64::*, asm};

/// Its instructions, which int4 uses too.
pub(super) struct Sdot;

impl Dot<4> for Sdot {
    type Sum = int32x4_t;
    type Weights = int8x16_t;
    type Lhs = int8x16_t;
    const LANES: usize = 4;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 64;

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
    unsafe fn weights(w: *const u8) -> [int8x16_t; 4] {
        // SAFETY: the caller has the instructions and 64 bytes.
        unsafe { [0, 16, 32, 48].map(|at| vld1q_s8(w.add(at).cast())) }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> int8x16_t {
        // SAFETY: the caller has the instructions and 4 bytes.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn dot(sum: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
        let mut sum = sum;
        // SAFETY: the caller has the instruction, which touches registers only. Its intrinsic is not stable yet.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {x:v}.16b, {w:v}.16b",
                sum = inout(vreg) sum,
                x = in(vreg) x,
                w = in(vreg) w,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    }

    #[inline(always)]
    unsafe fn store(sum: int32x4_t, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 4 values.
        unsafe { vst1q_f32(to, vcvtq_f32_s32(sum)) }
    }
}

micro_kernel! {
    #[target_feature(enable = "neon,dotprod")]
    "i8i8_neondot_6x16": Sdot, Element::I8, Layout::summed(16, 4, Weight::I8),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
