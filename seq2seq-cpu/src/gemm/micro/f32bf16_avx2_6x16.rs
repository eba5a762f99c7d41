//! bf16 weights widened to f32 in registers, as a bf16 is the upper half of an f32. Columns c and c + 8 share 4 bytes,
//! so that one load, one shift and one mask give two vectors.

use super::{Element, Layout, Weight, chain::Widen, f32_avx2::F32Rows};
use std::arch::x86_64::*;

pub(super) struct Bf16;

/// Its instructions, which int4 uses for its scales.
pub(super) type Widened = F32Rows<Bf16>;

impl Widen<__m256, 2> for Bf16 {
    const PANEL_BYTES: usize = 32;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [__m256; 2] {
        // SAFETY: the caller has the instructions and 32 bytes.
        unsafe {
            let both = _mm256_loadu_si256(w.cast());
            let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(both)),
                _mm256_castsi256_ps(_mm256_and_si256(both, upper)),
            ]
        }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx2,fma")]
    "f32bf16_avx2_6x16": Widened, Element::Rounded, Layout::interleaved(16, 8, Weight::Bf16),
    rows [1 2 3 4 5 6], shares [3 4 5 6]
}
