//! Plain Rust: four lanes, which the compiler puts into whatever vectors the oldest machine of the target has.

use super::Simd;
use crate::kernels::round::upper_half;
use std::array::from_fn;

/// The level that every machine has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar;

type V = [f32; 4];

impl Simd for Scalar {
    type V = V;
    type M = [bool; 4];
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load_at(self, x: *const f32) -> V {
        // SAFETY: the caller vouches for LANES values; an array of f32 has the alignment of f32.
        unsafe { x.cast::<V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_at(self, v: V, x: *mut f32) {
        // SAFETY: the caller vouches for LANES values.
        unsafe { x.cast::<V>().write_unaligned(v) }
    }

    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn fma(self, a: V, b: V, c: V) -> V {
        // `f32::mul_add` would call a software routine on machines without the instruction.
        from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn abs(self, a: V) -> V {
        a.map(f32::abs)
    }

    #[inline(always)]
    fn copysign(self, a: V, b: V) -> V {
        from_fn(|i| a[i].copysign(b[i]))
    }

    #[inline(always)]
    fn round(self, a: V) -> V {
        // Adding and taking away 1.5 · 2²³ drops the fraction by the rounding of the addition, ties to even;
        // `f32::round_ties_even` is a call on machines without the instruction. From 2²² on, only integers
        // and half-integers that the functions here never ask for are left, and the value is given back.
        const SHIFT: f32 = 12_582_912.0;
        a.map(|x| if x.abs() < 4_194_304.0 { (x + SHIFT) - SHIFT } else { x })
    }

    #[inline(always)]
    fn pow2(self, n: V) -> V {
        n.map(|x| f32::from_bits(((x as i32).wrapping_add(127) as u32) << 23))
    }

    #[inline(always)]
    fn lt(self, a: V, b: V) -> [bool; 4] {
        from_fn(|i| a[i] < b[i])
    }

    #[inline(always)]
    fn eq(self, a: V, b: V) -> [bool; 4] {
        from_fn(|i| a[i] == b[i])
    }

    #[inline(always)]
    fn select(self, m: [bool; 4], a: V, b: V) -> V {
        from_fn(|i| if m[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn interleave(self, a: V, b: V) -> [V; 2] {
        [[a[0], b[0], a[1], b[1]], [a[2], b[2], a[3], b[3]]]
    }

    #[inline(always)]
    fn pick(self, table: &[f32; 16], index: V) -> V {
        index.map(|i| table[(i.to_bits() & 15) as usize])
    }

    #[inline(always)]
    fn to_bf16(self, a: V) -> V {
        a.map(|x| f32::from_bits(upper_half(x) << 16))
    }

    #[inline(always)]
    unsafe fn store_upper_at(self, v: V, x: *mut u16) {
        // SAFETY: the caller vouches for LANES values.
        unsafe { x.cast::<[u16; 4]>().write_unaligned(v.map(|x| (x.to_bits() >> 16) as u16)) }
    }

    #[inline(always)]
    fn all(self, m: [bool; 4]) -> bool {
        m.into_iter().all(|x| x)
    }
}
