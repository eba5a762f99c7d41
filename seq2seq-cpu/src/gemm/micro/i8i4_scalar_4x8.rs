//! int4 in plain Rust: levels from a table, multiplied as in `i8i8_scalar_4x8`, and sums of groups times scales
//! as in `f32bf16_scalar_4x8`: the product and the sum round on their own.

use super::{
    Element, Layout, f32bf16_scalar_4x8::Widened, grouped::Grouped, i8i8_scalar_4x8::Products,
};
use seq2seq_core::quant::group::LEVELS;
use std::array::from_fn;

struct Codes;

impl Grouped<1> for Codes {
    type Int8 = Products;
    type Scaled = Widened;
    const UNIT: usize = 1;
    const CODE_BYTES: usize = 4;

    #[inline(always)]
    unsafe fn start(header: *const u8, zero: *const u8) -> [[f32; 8]; 1] {
        // SAFETY: the caller has a header of 8 f32, and an i32.
        let (sums, zero) = unsafe {
            (header.cast::<[f32; 8]>().read_unaligned(), zero.cast::<i32>().read_unaligned())
        };
        [sums.map(|sum| sum * zero as f32)]
    }

    #[inline(always)]
    unsafe fn zero() -> [i32; 8] {
        [0; 8]
    }

    #[inline(always)]
    unsafe fn levels(codes: *const u8, _: usize) -> [[i16; 8]; 1] {
        // SAFETY: the caller has 4 bytes.
        let both = unsafe { codes.cast::<[u8; 4]>().read() };
        let code = |i: usize| if i < 4 { both[i] & 15 } else { both[i - 4] >> 4 };
        [from_fn(|i| LEVELS[usize::from(code(i))].into())]
    }

    #[inline(always)]
    unsafe fn float(sum: [i32; 8]) -> [f32; 8] {
        sum.map(|v| v as f32)
    }
}

micro_kernel! {
    "i8i4_scalar_4x8": grouped Codes, Element::I8, Layout::grouped(8, 1, 8, true),
    rows [1 2 3 4], shares [2 3 4]
}
