//! bf16 weights in plain Rust: widened, then a product and a sum.

use super::{Element, Layout, Weight, chain::Widen, f32_scalar::F32Rows};

pub(super) struct Bf16;

/// Its instructions, which int4 uses for its scales.
pub(super) type Widened = F32Rows<Bf16>;

impl Widen<[f32; 8], 1> for Bf16 {
    const PANEL_BYTES: usize = 16;

    #[inline(always)]
    unsafe fn widen(w: *const u8) -> [[f32; 8]; 1] {
        // SAFETY: the caller has 16 bytes.
        let bits = unsafe { w.cast::<[u16; 8]>().read_unaligned() };
        [bits.map(|b| f32::from_bits(u32::from(b) << 16))]
    }
}

micro_kernel! {
    "f32bf16_scalar_4x8": Widened, Element::Rounded, Layout::plain(8, 1, Weight::Bf16),
    rows [1 2 3 4], shares [2 3 4]
}
