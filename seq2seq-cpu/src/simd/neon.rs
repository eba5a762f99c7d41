//! Four lanes: NEON.

use super::{Kernel, Simd};
use crate::isa::Neon;
use std::arch::aarch64::*;

/// Runs `kernel` compiled for this level.
#[inline]
pub(super) fn run<K: Kernel>(proof: Neon, kernel: K) -> K::Output {
    #[target_feature(enable = "neon")]
    fn enabled<K: Kernel>(proof: Neon, kernel: K) -> K::Output {
        kernel.run(proof)
    }
    // SAFETY: the proof exists only where the machine has these instructions.
    unsafe { enabled(proof, kernel) }
}

// SAFETY of every block below: `self` proves that the machine has NEON; what else an intrinsic asks for (readable or
// writable memory) the caller vouches for.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Neon {
    type V = float32x4_t;
    type M = uint32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load_at(self, x: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(x) }
    }

    #[inline(always)]
    unsafe fn store_at(self, v: float32x4_t, x: *mut f32) {
        unsafe { vst1q_f32(x, v) }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmaxq_f32(a, b) }
    }

    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vminq_f32(a, b) }
    }

    #[inline(always)]
    fn abs(self, a: float32x4_t) -> float32x4_t {
        unsafe { vabsq_f32(a) }
    }

    #[inline(always)]
    fn copysign(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vdupq_n_u32(1 << 31), b, a) }
    }

    #[inline(always)]
    fn round(self, a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }

    #[inline(always)]
    fn pow2(self, n: float32x4_t) -> float32x4_t {
        unsafe {
            let exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn lt(self, a: float32x4_t, b: float32x4_t) -> uint32x4_t {
        unsafe { vcltq_f32(a, b) }
    }

    #[inline(always)]
    fn eq(self, a: float32x4_t, b: float32x4_t) -> uint32x4_t {
        unsafe { vceqq_f32(a, b) }
    }

    #[inline(always)]
    fn select(self, m: uint32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(m, a, b) }
    }

    #[inline(always)]
    fn interleave(self, a: float32x4_t, b: float32x4_t) -> [float32x4_t; 2] {
        unsafe { [vzip1q_f32(a, b), vzip2q_f32(a, b)] }
    }

    #[inline(always)]
    fn pick(self, table: &[f32; 16], index: float32x4_t) -> float32x4_t {
        // The bytes of value i are 4 i to 4 i + 3.
        unsafe {
            let index = vandq_u32(vreinterpretq_u32_f32(index), vdupq_n_u32(15));
            let bytes = vmlaq_n_u32(vdupq_n_u32(0x0302_0100), index, 0x0404_0404);
            let table = vld1q_u8_x4(table.as_ptr().cast());
            vreinterpretq_f32_u8(vqtbl4q_u8(table, vreinterpretq_u8_u32(bytes)))
        }
    }

    #[inline(always)]
    fn to_bf16(self, a: float32x4_t) -> float32x4_t {
        unsafe {
            let bits = vreinterpretq_u32_f32(a);
            let even = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vaddq_u32(bits, vaddq_u32(vdupq_n_u32(0x7fff), even));
            let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
            // A NaN is the one that is not equal to itself.
            let rounded = vbslq_u32(vceqq_f32(a, a), rounded, quiet);
            vreinterpretq_f32_u32(vandq_u32(rounded, vdupq_n_u32(0xffff_0000)))
        }
    }

    #[inline(always)]
    unsafe fn store_upper_at(self, v: float32x4_t, x: *mut u16) {
        unsafe { vst1_u16(x, vshrn_n_u32::<16>(vreinterpretq_u32_f32(v))) }
    }

    #[inline(always)]
    fn all(self, m: uint32x4_t) -> bool {
        unsafe { vminvq_u32(m) != 0 }
    }
}
