//! A group of int4 by AVX2, to the bit as [`group::quantise_group`] defines it.
//!
//! Loading a model in int4 is this: eight scales are tried for every 32 weights. Of the plain definition the compiler makes
//! vectors or single bytes as it pleases, and each phrasing that was tried was several times slower than this.
//! Values stand in four vectors; lane i of all is partial sum i of the definition.

use seq2seq_core::quant::{
    TINY,
    group::{BORDERS, ENDS, GROUP, LEVELS, ZERO, stored_scale},
};
use std::arch::x86_64::*;

/// The values of a group.
type Values = [__m256; 4];

/// The scale and the codes of a group.
#[target_feature(enable = "avx2")]
pub(super) fn quantise_group(values: &[f32; GROUP]) -> (f32, [u8; GROUP]) {
    let mut v = [_mm256_setzero_ps(); 4];
    for (i, v) in v.iter_mut().enumerate() {
        // SAFETY: the group has 32 values.
        *v = unsafe { _mm256_loadu_ps(values.as_ptr().add(8 * i)) };
    }
    let extreme = extreme(values, v);
    if !extreme.is_finite() {
        return (f32::NAN, [ZERO; GROUP]);
    }
    if extreme.abs() < TINY {
        return (0.0, [ZERO; GROUP]);
    }
    let t = scaled(v, 127.0 / extreme);
    let (mut best, mut scale) = (-1.0, 0.0);
    for end in ENDS {
        let (product, square) = fit(t, end / 127.0);
        let gain = product * product / square;
        if gain > best {
            (best, scale) = (gain, product / square);
        }
    }
    let scale = stored_scale(scale, extreme);
    let mut codes = [0; GROUP];
    // SAFETY: there is room for 32 codes.
    unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), codes_of(v, 1.0 / scale)) };
    (scale, codes)
}

/// The value of the largest magnitude, the first of several; NaN or infinite where one is.
#[target_feature(enable = "avx2")]
fn extreme(values: &[f32; GROUP], v: Values) -> f32 {
    // Magnitudes order as their bits do, with infinity and NaN above all numbers.
    let magnitude = _mm256_set1_epi32(i32::MAX);
    let mut bits = [_mm256_setzero_si256(); 4];
    for (bits, v) in bits.iter_mut().zip(v) {
        *bits = _mm256_and_si256(_mm256_castps_si256(v), magnitude);
    }
    let of_lanes =
        _mm256_max_epi32(_mm256_max_epi32(bits[0], bits[1]), _mm256_max_epi32(bits[2], bits[3]));
    let of_four =
        _mm_max_epi32(_mm256_castsi256_si128(of_lanes), _mm256_extracti128_si256::<1>(of_lanes));
    let of_two = _mm_max_epi32(of_four, _mm_shuffle_epi32::<0b01_00_11_10>(of_four));
    let largest = _mm_max_epi32(of_two, _mm_shuffle_epi32::<0b10_11_00_01>(of_two));
    let largest = _mm256_broadcastd_epi32(largest);
    for (bits, run) in bits.into_iter().zip(values.chunks_exact(8)) {
        let equal = _mm256_castsi256_ps(_mm256_cmpeq_epi32(bits, largest));
        let found = _mm256_movemask_ps(equal);
        if found != 0 {
            return run[found.trailing_zeros() as usize];
        }
    }
    f32::NAN
}

#[target_feature(enable = "avx2")]
fn scaled(v: Values, factor: f32) -> Values {
    let factor = _mm256_set1_ps(factor);
    let [a, b, c, d] = v;
    [
        _mm256_mul_ps(a, factor),
        _mm256_mul_ps(b, factor),
        _mm256_mul_ps(c, factor),
        _mm256_mul_ps(d, factor),
    ]
}

/// The code of the level nearest to each v · factor.
#[target_feature(enable = "avx2")]
fn codes_of(v: Values, factor: f32) -> __m256i {
    let (low, high) = (_mm256_set1_ps(-127.0), _mm256_set1_ps(127.0));
    let mut rounded = [_mm256_setzero_si256(); 4];
    for (rounded, v) in rounded.iter_mut().zip(scaled(v, factor)) {
        // To the nearest integer, ties to even.
        *rounded = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(v, low), high));
    }
    let [a, b, c, d] = rounded;
    // Packing works on halves of 16 bytes: fours of values come in the order 0, 2, 4, 6, 1, 3, 5, 7.
    let mixed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    let integers = _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    // Two chains, as each waits for its own sum.
    let mut codes = [_mm256_setzero_si256(); 2];
    for (i, border) in BORDERS.into_iter().enumerate() {
        let above = _mm256_cmpgt_epi8(integers, _mm256_set1_epi8(border));
        codes[i % 2] = _mm256_sub_epi8(codes[i % 2], above);
    }
    _mm256_add_epi8(codes[0], codes[1])
}

/// Σtq and Σq² for the levels that t · factor is nearest to.
#[target_feature(enable = "avx2")]
fn fit(t: Values, factor: f32) -> (f32, f32) {
    // SAFETY: there are 16 levels.
    let table = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(LEVELS.as_ptr().cast()) });
    let q = _mm256_shuffle_epi8(table, codes_of(t, factor));
    let (a, b) = (_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q));
    let eights = [a, _mm_srli_si128::<8>(a), b, _mm_srli_si128::<8>(b)];
    let mut products = _mm256_setzero_ps();
    for i in 0..4 {
        let q = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eights[i]));
        products = _mm256_add_ps(products, _mm256_mul_ps(t[i], q));
    }
    let (a, b) = (_mm256_cvtepi8_epi16(a), _mm256_cvtepi8_epi16(b));
    let (a, b) = (_mm256_madd_epi16(a, a), _mm256_madd_epi16(b, b));
    let squares = _mm256_cvtepi32_ps(_mm256_add_epi32(a, b));
    (sum(products), sum(squares))
}

/// The halves added until one sum is left.
#[target_feature(enable = "avx2")]
fn sum(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
