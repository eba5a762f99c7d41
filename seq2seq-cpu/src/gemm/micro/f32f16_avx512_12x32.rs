//! f16 weights converted to f32 in registers, which is exact: the sums are those of f32 to the bit. Two vectors of 16 columns,
//! each converted from 32 bytes as it is loaded.

use super::{Element, Layout, Weight, chain::Widen, f32_avx512::F32Rows};
use std::arch::x86_64::*;

struct Half;

impl Widen<__m512, 2> for Half {
    const PANEL_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions and 64 bytes.
        unsafe {
            [
                _mm512_cvtph_ps(_mm256_loadu_si256(w.cast())),
                _mm512_cvtph_ps(_mm256_loadu_si256(w.add(32).cast())),
            ]
        }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    "f32f16_avx512_12x32": F32Rows<Half>, Element::F32, Layout::plain(32, 1, Weight::F16),
    rows [1 2 3 4 5 6 7 8 9 10 11 12], shares [6 7 8 9 10 11 12]
}
