//! int4 by the dot product of Armv8.4: `tbl` makes levels of codes, which are multiplied as in `i8i8_neondot_6x16`.

use super::{Element, Layout, grouped::Grouped, i8i8_neondot_6x16::Sdot};
use seq2seq_core::quant::group::LEVELS;
use std::arch::aarch64::*;

struct Codes;

impl Grouped<4> for Codes {
    type Int8 = Sdot;
    type Total = float32x4_t;
    const UNIT: usize = 4;
    const CODE_BYTES: usize = 32;

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
    unsafe fn levels(codes: *const u8) -> [int8x16_t; 4] {
        // SAFETY: the caller has the instructions and 32 bytes.
        unsafe {
            let (table, low) = (vld1q_s8(LEVELS.as_ptr()), vdupq_n_u8(15));
            let both = [vld1q_u8(codes), vld1q_u8(codes.add(16))];
            [
                vqtbl1q_s8(table, vandq_u8(both[0], low)),
                vqtbl1q_s8(table, vandq_u8(both[1], low)),
                vqtbl1q_s8(table, vshrq_n_u8::<4>(both[0])),
                vqtbl1q_s8(table, vshrq_n_u8::<4>(both[1])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn scales(scales: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller has the instructions and 32 bytes; the loads take any alignment as bytes.
        unsafe {
            let both = [0, 16].map(|at| vreinterpretq_u32_u8(vld1q_u8(scales.add(at))));
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
    unsafe fn add(total: float32x4_t, sum: int32x4_t, scale: float32x4_t) -> float32x4_t {
        // SAFETY: the caller has the instructions.
        unsafe { vfmaq_f32(total, vcvtq_f32_s32(sum), scale) }
    }

    #[inline(always)]
    unsafe fn store(total: float32x4_t, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 4 values.
        unsafe { vst1q_f32(to, total) }
    }
}

micro_kernel! {
    #[target_feature(enable = "neon,dotprod")]
    "i8i4_neondot_4x16": grouped Codes, Element::I8, Layout::grouped(16, 4, 8, true), rows [1 2 3 4]
}
