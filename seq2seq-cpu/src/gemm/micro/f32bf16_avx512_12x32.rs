//! bf16 weights for machines without the bf16 dot product, or with a slow one: widened to f32 in registers, as a bf16 is the upper half
//! of an f32. Columns c and c + 16 share 4 bytes, so that one load, one shift and one mask give two vectors.

use super::{Element, Layout, Weight, chain::Widen, f32_avx512::F32Rows};
use std::arch::x86_64::*;

pub(super) struct Bf16;

/// Its instructions, which int4 uses for its scales.
pub(super) type Widened = F32Rows<Bf16>;

impl Widen<__m512, 2> for Bf16 {
    const PANEL_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [__m512; 2] {
        // SAFETY: the caller has the instructions and 64 bytes.
        unsafe {
            let both = _mm512_loadu_si512(w.cast());
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            [
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(both)),
                _mm512_castsi512_ps(_mm512_and_si512(both, upper)),
            ]
        }
    }
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    "f32bf16_avx512_12x32": Widened, Element::Rounded, Layout::interleaved(32, 16, Weight::Bf16),
    rows [1 2 3 4 5 6 7 8 9 10 11 12], shares [6 7 8 9 10 11 12], pairs [5 6]
}
