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
pub(super) type Values = [__m256; 4];

/// Integers fall into cells by their upper four bits. No cell has more than two borders, so that the code of an integer is
/// the first code of its cell and how many of two borders it is above: a third of the work of comparing with all 15.
pub(super) struct Cells {
    /// The code of the smallest integer.
    pub(super) first: [i8; 16],
    /// The borders within, rising; 127, which nothing is above, where there are fewer.
    pub(super) borders: [[i8; 16]; 2],
}

pub(super) const CELLS: Cells = {
    let mut cells = Cells { first: [0; 16], borders: [[i8::MAX; 16]; 2] };
    let mut i = 0;
    while i < 16 {
        // As two's complement has it, the second half is negative.
        let smallest = (i as i8) << 4;
        let (mut border, mut found) = (0, 0);
        while border < BORDERS.len() {
            if BORDERS[border] < smallest {
                cells.first[i] += 1;
            } else if BORDERS[border] < smallest + 15 {
                cells.borders[found][i] = BORDERS[border];
                found += 1;
            }
            border += 1;
        }
        i += 1;
    }
    cells
};

/// The scale and the codes of a group.
#[target_feature(enable = "avx2")]
pub(super) fn quantise_group(values: &[f32; GROUP]) -> (f32, [u8; GROUP]) {
    let v = load(values);
    let extreme = extreme(values, v);
    match without_search(extreme) {
        Some(found) => found,
        None => finish(v, best_scale(scaled(v, 127.0 / extreme)), extreme),
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn load(values: &[f32; GROUP]) -> Values {
    let mut v = [_mm256_setzero_ps(); 4];
    for (i, v) in v.iter_mut().enumerate() {
        // SAFETY: the group has 32 values.
        *v = unsafe { _mm256_loadu_ps(values.as_ptr().add(8 * i)) };
    }
    v
}

/// What there is to be had of a group whose largest value is not finite or next to nothing.
pub(super) fn without_search(extreme: f32) -> Option<(f32, [u8; GROUP])> {
    if !extreme.is_finite() {
        return Some((f32::NAN, [ZERO; GROUP]));
    }
    (extreme.abs() < TINY).then_some((0.0, [ZERO; GROUP]))
}

/// The scale as it is stored, of the best one for units, and the codes by it.
#[target_feature(enable = "avx2")]
pub(super) fn finish(v: Values, scale: f32, extreme: f32) -> (f32, [u8; GROUP]) {
    let scale = stored_scale(scale, extreme);
    let mut codes = [0; GROUP];
    // SAFETY: there is room for 32 codes.
    unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), codes_of(v, 1.0 / scale)) };
    (scale, codes)
}

/// The value of the largest magnitude, the first of several; NaN or infinite where one is.
#[target_feature(enable = "avx2")]
pub(super) fn extreme(values: &[f32; GROUP], v: Values) -> f32 {
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
    // Which vector it is in nobody foresees, so that there is no branch for each.
    let mut places = 0;
    for (i, bits) in bits.into_iter().enumerate() {
        let equal = _mm256_castsi256_ps(_mm256_cmpeq_epi32(bits, largest));
        places |= (_mm256_movemask_ps(equal) as u32) << (8 * i);
    }
    values[places.trailing_zeros() as usize % GROUP]
}

#[target_feature(enable = "avx2")]
pub(super) fn scaled(v: Values, factor: f32) -> Values {
    let factor = _mm256_set1_ps(factor);
    let [a, b, c, d] = v;
    [
        _mm256_mul_ps(a, factor),
        _mm256_mul_ps(b, factor),
        _mm256_mul_ps(c, factor),
        _mm256_mul_ps(d, factor),
    ]
}

/// The code of the level nearest to each v · factor, which are less than 2³¹.
#[target_feature(enable = "avx2")]
pub(super) fn codes_of(v: Values, factor: f32) -> __m256i {
    let mut rounded = [_mm256_setzero_si256(); 4];
    for (rounded, v) in rounded.iter_mut().zip(scaled(v, factor)) {
        // To the nearest integer, ties to even.
        *rounded = _mm256_cvtps_epi32(v);
    }
    let [a, b, c, d] = rounded;
    // Packing cuts to -128..=127, and -128 has the code of -127. It works on halves of 16 bytes: fours of values come in
    // the order 0, 2, 4, 6, 1, 3, 5, 7.
    let mixed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    let integers = _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(integers), _mm256_set1_epi8(15));
    let mut codes = _mm256_shuffle_epi8(table(&CELLS.first), upper);
    for borders in &CELLS.borders {
        let border = _mm256_shuffle_epi8(table(borders), upper);
        codes = _mm256_sub_epi8(codes, _mm256_cmpgt_epi8(integers, border));
    }
    codes
}

/// A table for each half of a vector.
#[target_feature(enable = "avx2")]
fn table(values: &[i8; 16]) -> __m256i {
    // SAFETY: there are 16 bytes.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(values.as_ptr().cast()) })
}

/// The scale for units that takes most from the squared error, of those that [`ENDS`] lead to.
///
/// All ends are summed and divided side by side, as the time of a single one is that of its horizontal sums.
#[target_feature(enable = "avx2")]
fn best_scale(t: Values) -> f32 {
    let mut products = [_mm256_setzero_ps(); ENDS.len()];
    let mut squares = [_mm256_setzero_ps(); ENDS.len()];
    for (i, end) in ENDS.into_iter().enumerate() {
        (products[i], squares[i]) = fit(t, end / 127.0);
    }
    best(sums(products), sums(squares))
}

/// The scale of the end that takes most from the squared error, the first of several, by the sums of all ends.
#[target_feature(enable = "avx2")]
pub(super) fn best(products: __m256, squares: __m256) -> f32 {
    let gains = _mm256_div_ps(_mm256_mul_ps(products, products), squares);
    let halves = _mm_max_ps(_mm256_castps256_ps128(gains), _mm256_extractf128_ps::<1>(gains));
    let two = _mm_max_ps(halves, _mm_movehl_ps(halves, halves));
    let most = _mm256_broadcastss_ps(_mm_max_ss(two, _mm_movehdup_ps(two)));
    let best = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(gains, most)).trailing_zeros();
    let mut scales = [0.0; ENDS.len()];
    // SAFETY: there is room for a scale of each of eight ends.
    unsafe { _mm256_storeu_ps(scales.as_mut_ptr(), _mm256_div_ps(products, squares)) };
    scales[best as usize]
}

/// The partial sums of tq and of q² for the levels that t · factor is nearest to.
#[target_feature(enable = "avx2")]
fn fit(t: Values, factor: f32) -> (__m256, __m256) {
    let q = _mm256_shuffle_epi8(table(&LEVELS), codes_of(t, factor));
    let (a, b) = (_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q));
    let eights = [a, _mm_srli_si128::<8>(a), b, _mm_srli_si128::<8>(b)];
    let mut products = _mm256_setzero_ps();
    for i in 0..4 {
        let q = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eights[i]));
        products = _mm256_add_ps(products, _mm256_mul_ps(t[i], q));
    }
    let (a, b) = (_mm256_cvtepi8_epi16(a), _mm256_cvtepi8_epi16(b));
    let (a, b) = (_mm256_madd_epi16(a, a), _mm256_madd_epi16(b, b));
    (products, _mm256_cvtepi32_ps(_mm256_add_epi32(a, b)))
}

/// Of each the halves added until one sum is left.
#[target_feature(enable = "avx2")]
fn sums(of: [__m256; 8]) -> __m256 {
    // Vectors i and i + 4 become a half each of one.
    let mut four = [_mm256_setzero_ps(); 4];
    for i in 0..4 {
        let low = _mm256_permute2f128_ps::<0x20>(of[i], of[i + 4]);
        let high = _mm256_permute2f128_ps::<0x31>(of[i], of[i + 4]);
        four[i] = _mm256_add_ps(low, high);
    }
    let mut two = [_mm256_setzero_ps(); 2];
    for i in 0..2 {
        let low = _mm256_shuffle_ps::<0b01_00_01_00>(four[2 * i], four[2 * i + 1]);
        let high = _mm256_shuffle_ps::<0b11_10_11_10>(four[2 * i], four[2 * i + 1]);
        two[i] = _mm256_add_ps(low, high);
    }
    let even = _mm256_shuffle_ps::<0b10_00_10_00>(two[0], two[1]);
    let odd = _mm256_shuffle_ps::<0b11_01_11_01>(two[0], two[1]);
    _mm256_add_ps(even, odd)
}

/// The sum of the levels that codes stand for.
#[target_feature(enable = "avx2")]
pub(super) fn sum_of_levels(codes: &[u8; GROUP]) -> i32 {
    // SAFETY: there are 32 codes.
    let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
    let levels = _mm256_shuffle_epi8(table(&LEVELS), codes);
    let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), levels);
    let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    let four = _mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256::<1>(fours));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
}
