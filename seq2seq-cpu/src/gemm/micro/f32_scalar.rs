//! Rows and sums of f32 on plain Rust, whatever the weights are stored as. A product, then a sum, each rounded.

use super::{Dot, chain::Widen};
use std::array::from_fn;
use std::marker::PhantomData;

pub(super) struct F32Rows<W>(PhantomData<W>);

impl<W: Widen<[f32; 8], 1>> Dot<1> for F32Rows<W> {
    type Sum = [f32; 8];
    type Weights = [f32; 8];
    type Lhs = [f32; 8];
    const LANES: usize = 8;
    const LHS_BYTES: usize = 4;
    const PANEL_BYTES: usize = W::PANEL_BYTES;

    #[inline(always)]
    unsafe fn start(_: *const u8, _: *const u8) -> [[f32; 8]; 1] {
        [[0.0; 8]]
    }

    #[inline(always)]
    unsafe fn weights(w: *const u8) -> [[f32; 8]; 1] {
        // SAFETY: the caller's promise.
        unsafe { W::widen(w) }
    }

    #[inline(always)]
    unsafe fn lhs(x: *const u8) -> [f32; 8] {
        // SAFETY: the caller has 4 bytes.
        [unsafe { x.cast::<f32>().read_unaligned() }; 8]
    }

    #[inline(always)]
    unsafe fn dot(sum: [f32; 8], x: [f32; 8], w: [f32; 8]) -> [f32; 8] {
        from_fn(|i| sum[i] + x[i] * w[i])
    }

    #[inline(always)]
    unsafe fn store(sum: [f32; 8], to: *mut f32) {
        // SAFETY: the caller has room for 8 values.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(sum) }
    }
}
