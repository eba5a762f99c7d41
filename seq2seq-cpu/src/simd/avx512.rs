//! Sixteen lanes: AVX-512.

use super::words::{Pair, WordsKernel};
use super::{Kernel, Simd};
use crate::isa::Avx512;
use std::arch::x86_64::*;

/// Runs `kernel` compiled for this level.
#[inline]
pub(super) fn run<K: Kernel>(proof: Avx512, kernel: K) -> K::Output {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    fn enabled<K: Kernel>(proof: Avx512, kernel: K) -> K::Output {
        kernel.run(proof)
    }
    // SAFETY: the proof exists only where the machine has these instructions.
    unsafe { enabled(proof, kernel) }
}

/// Runs `kernel` compiled for this level and its pairs of bf16.
#[inline]
pub(super) fn run_pairs<K: WordsKernel>(proof: Avx512, pair: Pair, kernel: K) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
    fn enabled<K: WordsKernel>(proof: Avx512, pair: Pair, kernel: K) {
        kernel.run(proof, pair);
    }
    // SAFETY: the proofs exist only where the machine has these instructions.
    unsafe { enabled(proof, pair, kernel) }
}

// SAFETY of every block below: `self` proves that the machine has AVX-512 F and DQ; what else an intrinsic asks for
// (readable or writable memory) the caller vouches for, or the mask leaves out.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx512 {
    type V = __m512;
    type M = __mmask16;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_at(self, x: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn store_at(self, v: __m512, x: *mut f32) {
        unsafe { _mm512_storeu_ps(x, v) }
    }

    #[inline(always)]
    fn load_partial(self, x: &[f32], fill: f32) -> __m512 {
        assert!(x.len() < 16);
        let mask = (1u16 << x.len()) - 1;
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, x.as_ptr()) }
    }

    #[inline(always)]
    fn store_partial(self, v: __m512, x: &mut [f32]) {
        assert!(x.len() < 16);
        let mask = (1u16 << x.len()) - 1;
        unsafe { _mm512_mask_storeu_ps(x.as_mut_ptr(), mask, v) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }

    #[inline(always)]
    fn copysign(self, a: __m512, b: __m512) -> __m512 {
        unsafe {
            // Of each bit: that of `b` where the first operand, the sign, is set, and that of `a` elsewhere.
            let (sign, a, b) = (i32::MIN, _mm512_castps_si512(a), _mm512_castps_si512(b));
            let bits = _mm512_ternarylogic_epi32::<0b1100_1010>(_mm512_set1_epi32(sign), b, a);
            _mm512_castsi512_ps(bits)
        }
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn pow2(self, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), n) }
    }

    #[inline(always)]
    fn scale(self, x: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(x, n) }
    }

    #[inline(always)]
    fn lt(self, a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
    }

    #[inline(always)]
    fn eq(self, a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) }
    }

    #[inline(always)]
    fn select(self, m: __mmask16, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(m, b, a) }
    }

    #[inline(always)]
    fn interleave(self, a: __m512, b: __m512) -> [__m512; 2] {
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            [_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b)]
        }
    }

    #[inline(always)]
    fn pick(self, table: &[f32; 16], index: __m512) -> __m512 {
        unsafe { _mm512_permutexvar_ps(_mm512_castps_si512(index), self.load(table)) }
    }

    #[inline(always)]
    fn to_bf16(self, a: __m512) -> __m512 {
        // Not `vcvtneps2bf16`, to which subnormal numbers are zeros.
        unsafe {
            let bits = _mm512_castps_si512(a);
            let even = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let half = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), even);
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            let rounded = _mm512_add_epi32(bits, half);
            let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
            let upper = _mm512_and_si512(rounded, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()));
            _mm512_castsi512_ps(upper)
        }
    }

    #[inline(always)]
    unsafe fn store_upper_at(self, v: __m512, x: *mut u16) {
        unsafe {
            let upper = _mm512_srli_epi32::<16>(_mm512_castps_si512(v));
            _mm256_storeu_si256(x.cast(), _mm512_cvtepi32_epi16(upper));
        }
    }

    #[inline(always)]
    fn all(self, m: __mmask16) -> bool {
        m == 0xffff
    }
}
