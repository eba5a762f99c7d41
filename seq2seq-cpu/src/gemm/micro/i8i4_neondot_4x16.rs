//! int4 by the dot product of Armv8.4: `tbl` makes levels of codes, which are multiplied as in `i8i8_neondot_6x16`.

use super::{
    Element, Layout, f32bf16_neon_6x16::Widened, grouped::Grouped, i8i4_neon_4x16,
    i8i8_neondot_6x16::Sdot,
};
use seq2seq_core::quant::group::LEVELS;
use std::arch::aarch64::*;

struct Codes;

impl Grouped<4> for Codes {
    type Int8 = Sdot;
    type Scaled = Widened;
    const UNIT: usize = 4;
    const CODE_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller has the instructions, a header of 16 f32, and an i32.
        unsafe { i8i4_neon_4x16::Codes::start(header, zero) }
    }

    #[inline(always)]
    unsafe fn zero() -> int32x4_t {
        // SAFETY: the caller has the instructions.
        unsafe { i8i4_neon_4x16::Codes::zero() }
    }

    #[inline(always)]
    unsafe fn levels(codes: *const u8, _: usize) -> [int8x16_t; 4] {
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
    unsafe fn float(sum: int32x4_t) -> float32x4_t {
        // SAFETY: the caller has the instructions.
        unsafe { i8i4_neon_4x16::Codes::float(sum) }
    }
}

micro_kernel! {
    #[target_feature(enable = "neon,dotprod")]
    "i8i4_neondot_4x16": grouped Codes, Element::I8, Layout::grouped(16, 4, 8, true),
    rows [1 2 3 4], shares [2 3 4]
}
