//! A group of int4 by AVX-512, to the bit as [`group::quantise_group`](seq2seq_core::quant::group::quantise_group) defines it.
//!
//! As by AVX2, but for two ends at a time: each half of a vector holds the eight partial sums of one of them. A level comes as f32
//! from a table of 16 at its code, where AVX2 widens it.

use super::group_avx2::{self, CELLS, Values, best, extreme, finish, scaled, without_search};
use seq2seq_core::quant::group::{ENDS, GROUP, LEVELS};
use std::arch::x86_64::*;

/// The levels as numbers.
const NUMBERS: [f32; 16] = {
    let mut numbers = [0.0; 16];
    let mut i = 0;
    while i < 16 {
        numbers[i] = LEVELS[i] as f32;
        i += 1;
    }
    numbers
};

/// The factors of two ends, each for half of a vector.
const FACTORS: [[f32; 16]; 4] = {
    let mut factors = [[0.0; 16]; 4];
    let mut i = 0;
    while i < 64 {
        factors[i / 16][i % 16] = ENDS[i / 8] / 127.0;
        i += 1;
    }
    factors
};

/// Where the sums of ends 0 to 3 and 4 to 7 stand after [`sums`].
const PLACES: [i32; 16] = [0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0];

/// Which byte of a quarter of a vector goes to the lowest of each word: those of one step, which stand one behind the other.
const SPREAD: [[i8; 16]; 4] = {
    let mut spread = [[-1; 16]; 4];
    let mut i = 0;
    while i < 16 {
        spread[i / 4][i % 4 * 4] = i as i8;
        i += 1;
    }
    spread
};

/// The scale and the codes of a group.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2")]
pub(super) fn quantise_group(values: &[f32; GROUP]) -> (f32, [u8; GROUP]) {
    let v = group_avx2::load(values);
    let extreme = extreme(values, v);
    match without_search(extreme) {
        Some(found) => found,
        None => finish(v, best_scale(scaled(v, 127.0 / extreme)), extreme),
    }
}

/// The scale for units that takes most from the squared error, of those that [`ENDS`] lead to.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2")]
fn best_scale(t: Values) -> f32 {
    let mut twice = [_mm512_setzero_ps(); 4];
    for (twice, t) in twice.iter_mut().zip(t) {
        *twice = _mm512_broadcast_f32x8(t);
    }
    let mut products = [_mm512_setzero_ps(); 4];
    let mut squares = [_mm512_setzero_ps(); 4];
    for (i, factors) in FACTORS.iter().enumerate() {
        (products[i], squares[i]) = fit(twice, load(factors));
    }
    best(sums(products), sums(squares))
}

#[target_feature(enable = "avx512f")]
fn load(values: &[f32; 16]) -> __m512 {
    // SAFETY: there are 16 values.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// A table for each quarter of a vector.
#[target_feature(enable = "avx512f")]
fn table(values: &[i8; 16]) -> __m512i {
    // SAFETY: there are 16 bytes.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(values.as_ptr().cast()) })
}

/// The partial sums of tq and of q² for the levels that t times a factor is nearest to; of either end in a half.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn fit(t: [__m512; 4], factors: __m512) -> (__m512, __m512) {
    let mut rounded = [_mm512_setzero_si512(); 4];
    for (rounded, t) in rounded.iter_mut().zip(t) {
        // To the nearest integer, ties to even.
        *rounded = _mm512_cvtps_epi32(_mm512_mul_ps(t, factors));
    }
    let [a, b, c, d] = rounded;
    // Cut to -128..=127, and -128 has the code of -127. In each quarter four bytes of a, four of b, and so on.
    let integers = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
    let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(integers), _mm512_set1_epi8(15));
    let mut codes = _mm512_shuffle_epi8(table(&CELLS.first), upper);
    for borders in &CELLS.borders {
        let above = _mm512_cmpgt_epi8_mask(integers, _mm512_shuffle_epi8(table(borders), upper));
        codes = _mm512_mask_add_epi8(codes, above, codes, _mm512_set1_epi8(1));
    }
    let mut products = _mm512_setzero_ps();
    for (t, spread) in t.into_iter().zip(&SPREAD) {
        let q = _mm512_permutexvar_ps(_mm512_shuffle_epi8(codes, table(spread)), load(&NUMBERS));
        products = _mm512_add_ps(products, _mm512_mul_ps(t, q));
    }
    // The sign of a level falls out of its square; 127 at most, it is the same number with and without one.
    let size = _mm512_abs_epi8(_mm512_shuffle_epi8(table(&LEVELS), codes));
    let squares = _mm512_dpbusd_epi32(_mm512_setzero_si512(), size, size);
    (products, _mm512_cvtepi32_ps(squares))
}

/// Of each half the halves added until one sum is left: those of ends 0 to 7.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn sums([a, b, c, d]: [__m512; 4]) -> __m256 {
    let fours = |a, b| {
        let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
        _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b))
    };
    let (a, b) = (fours(a, b), fours(c, d));
    let low = _mm512_shuffle_ps::<0b01_00_01_00>(a, b);
    let two = _mm512_add_ps(low, _mm512_shuffle_ps::<0b11_10_11_10>(a, b));
    let one = _mm512_add_ps(two, _mm512_movehdup_ps(two));
    // SAFETY: there are 16 numbers.
    let places = unsafe { _mm512_loadu_si512(PLACES.as_ptr().cast()) };
    _mm512_castps512_ps256(_mm512_permutexvar_ps(places, one))
}
