//! What a product's results are stored as: the f32 that they are, or the type that a next layer multiplies.

use crate::{kernels::round::Rounded, simd::Simd};
use bytemuck::{Pod, Zeroable};

/// A type that results are stored in.
pub(crate) trait Stored: Copy + Send {
    /// Stores the lanes of `v` in the first `LANES` values of `to`.
    ///
    /// # Panics
    /// When there are fewer.
    fn store<S: Simd>(s: S, v: S::V, to: &mut [Self]);
}

impl Stored for f32 {
    #[inline(always)]
    fn store<S: Simd>(s: S, v: S::V, to: &mut [f32]) {
        s.store(v, to);
    }
}

/// bf16
impl Stored for u16 {
    #[inline(always)]
    fn store<S: Simd>(s: S, v: S::V, to: &mut [u16]) {
        Rounded::store(s, v, to);
    }
}

/// Rounded to bf16, held as f32.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct RoundedF32(f32);

// SAFETY: an f32 by another name, of which zero is one.
unsafe impl Zeroable for RoundedF32 {}
// SAFETY: as for Zeroable.
unsafe impl Pod for RoundedF32 {}

impl Stored for RoundedF32 {
    #[inline(always)]
    fn store<S: Simd>(s: S, v: S::V, to: &mut [RoundedF32]) {
        Rounded::store::<S>(s, v, bytemuck::cast_slice_mut::<_, f32>(to));
    }
}
