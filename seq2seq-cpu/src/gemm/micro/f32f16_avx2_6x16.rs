//! f16 weights converted to f32 in registers by F16C, which is exact: the sums are those of f32 to the bit. Two vectors of 8
//! columns, each converted from 16 bytes as it is loaded.

use super::{Element, Layout, Weight, chain::Widen, f32_avx2::F32Rows};
use std::arch::x86_64::*;
use std::sync::atomic::{Ordering, compiler_fence};

struct Half;

impl Widen<__m256, 2> for Half {
    const PANEL_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [__m256; 2] {
        // Else the compiler converts those of the next unit before these are used, and has more vectors than registers.
        compiler_fence(Ordering::SeqCst);
        // SAFETY: the caller has the instructions and 32 bytes.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(w.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(w.add(16).cast())),
            ]
        }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx2,fma,f16c")]
    "f32f16_avx2_6x16": F32Rows<Half>, Element::F32, Layout::plain(16, 1, Weight::F16),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
