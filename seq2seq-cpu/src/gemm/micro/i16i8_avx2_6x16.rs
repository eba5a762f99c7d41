//! int8 without VNNI: both operands as 16 bits, `vpmaddwd` adds two products into an i32.
//!
//! Exact. `vpmaddubsw` would take twice as many bytes at once, but its sums saturate at 16 bits. Activations are stored
//! as i16, less the zero point; weights stay bytes in memory and are widened as they are loaded.

use super::{Dot, Element, Layout, Weight};
use std::arch::{asm, x86_64::*};

/// sum + product. The compiler knows that integers may be added in any order: left to itself it adds the products of four
/// units first, which takes more registers than there are, and an eighth of the time.
#[inline]
#[target_feature(enable = "avx2")]
fn add(mut sum: __m256i, product: __m256i) -> __m256i {
    // SAFETY: one instruction of AVX2 on registers.
    unsafe {
        asm!(
            "vpaddd {sum}, {sum}, {product}",
            sum = inout(ymm_reg) sum,
            product = in(ymm_reg) product,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Its instructions, which int4 uses too.
pub(super) struct Pairs;

impl Dot<2> for Pairs {
    type Sum = __m256i;
    type Weights = __m256i;
    type Lhs = __m256i;
    const LANES: usize = 8;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller has the instructions.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller has the instructions and 32 bytes.
        unsafe {
            [
                _mm256_cvtepi8_epi16(_mm_loadu_si128(w.cast())),
                _mm256_cvtepi8_epi16(_mm_loadu_si128(w.add(16).cast())),
            ]
        }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> __m256i {
        // SAFETY: the caller has the instructions and 4 bytes.
        unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: the caller has the instructions.
        unsafe { add(sum, _mm256_madd_epi16(x, w)) }
    }

    #[inline(always)]
    unsafe fn store(sum: __m256i, to: *mut f32) {
        // SAFETY: the caller has the instructions and room for 8 values.
        unsafe { _mm256_storeu_ps(to, _mm256_cvtepi32_ps(sum)) }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx2")]
    "i16i8_avx2_6x16": Pairs, Element::I16, Layout::plain(16, 2, Weight::I8),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
