//! Quantisation: the one definition that every backend follows to the bit, so that the integer sums of
//! [`Format::Int8`](crate::Format::Int8) and of the groups of [`Format::Int4`](crate::Format::Int4) agree exactly.
//!
//! | run of values | becomes | module |
//! |---|---|---|
//! | an output channel of a weight | i8 and a scale | [`channel`] |
//! | 32 weights of an output channel | 4-bit codes of levels, and a scale | [`group`] |
//! | a row of activations, for either | u8, a scale and a zero point | [`row`] |
//!
//! The product of a row (scale r, zero point z) and an int8 channel (scale c, times the layer's `scale`) is the integer
//! sum Σ (q - z) w, exact in i32, times r times c. That of an int4 channel is the sum over its groups (scale g) of
//! g Σ (q - z) w, w the levels, times r times the layer's `scale`; the integer sums are exact, the sum over the groups is
//! one of f32.
//!
//! Activations are asymmetric because few of them are: after ReLU, GELU or a norm with a bias the values of a row lie
//! unevenly about zero, and a symmetric scale leaves up to half of the integers unused. On the sentences of
//! `scripts/check_minilm.py` that halves the distance of the embeddings from those in f32.
//!
//! A run whose magnitudes are all below [`TINY`] counts as zeros and has scale 0: its scale would be subnormal and the
//! inverse near overflow. A run that holds NaN or infinity has scale NaN, and with it every result that it enters.

pub mod channel;
pub mod group;
pub mod row;

/// Largest magnitudes below this count as zero: 2⁻¹¹⁸, the least power of two whose 254th part is a normal f32.
pub const TINY: f32 = f32::from_bits((127 - 118) << 23);

/// The longest reduction whose sums of int8 products fit i32: ⌊(2³¹ - 1) / (255 · 127)⌋.
pub const MAX_REDUCTION: usize = i32::MAX as usize / (255 * 127);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_reduction_fits() {
        let sum = |n: usize| n as i64 * 255 * 127;
        assert!(sum(MAX_REDUCTION) <= i64::from(i32::MAX));
        assert!(sum(MAX_REDUCTION + 1) > i64::from(i32::MAX));
    }

    #[test]
    fn the_least_scale_is_normal() {
        assert!((TINY / 254.0).is_normal() && !(TINY / 2.0 / 254.0).is_normal());
    }
}
