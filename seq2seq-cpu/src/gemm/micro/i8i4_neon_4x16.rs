//! int4 for the first Armv8: `tbl` makes levels of codes, which are multiplied as in `i8i8_neon_6x16`.

use super::{Element, Layout, f32bf16_neon_6x16::Widened, grouped::Grouped, i8i8_neon_6x16::Pairs};
use seq2seq_core::quant::group::LEVELS;
use std::arch::aarch64::*;

/// Its instructions, some of which `i8i4_neondot_4x16` uses too.
pub(super) struct Codes;

impl Grouped<4> for Codes {
    type Int8 = Pairs;
    type Scaled = Widened;
    const UNIT: usize = 2;
    const CODE_BYTES: usize = 16;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller has the instructions, a header of 16 f32, and an i32; the loads take any alignment as bytes.
        unsafe {
            let zero = zero.cast::<i32>().read_unaligned() as f32;
            [0, 16, 32, 48]
                .map(|at| vmulq_n_f32(vreinterpretq_f32_u8(vld1q_u8(header.add(at))), zero))
        }
    }

    #[inline(always)]
    unsafe fn zero() -> int32x4_t {
        // SAFETY: the caller has the instructions.
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn levels(codes: *const u8, _: usize) -> [int8x8_t; 4] {
        // SAFETY: the caller has the instructions and 16 bytes.
        unsafe {
            let (table, both) = (vld1q_s8(LEVELS.as_ptr()), vld1q_u8(codes));
            let low = vqtbl1q_s8(table, vandq_u8(both, vdupq_n_u8(15)));
            let high = vqtbl1q_s8(table, vshrq_n_u8::<4>(both));
            [vget_low_s8(low), vget_high_s8(low), vget_low_s8(high), vget_high_s8(high)]
        }
    }

    #[inline(always)]
    unsafe fn float(sum: int32x4_t) -> float32x4_t {
        // SAFETY: the caller has the instructions.
        unsafe { vcvtq_f32_s32(sum) }
    }
}

micro_kernel! {
    #[target_feature(enable = "neon")]
    "i8i4_neon_4x16": grouped Codes, Element::I8, Layout::grouped(16, 2, 8, true),
    rows [1 2 3 4], shares [2 3 4]
}
