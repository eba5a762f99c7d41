//! Quantisation: the one definition that every backend follows to the bit, so that the integer sums of
//! [`Format::Int8`](crate::Format::Int8) agree exactly.
//!
//! | run of values | becomes | module |
//! |---|---|---|
//! | an output channel of a weight | i8 and a scale | [`channel`] |
//! | a row of activations | u8, a scale and a zero point | [`row`] |
//!
//! The product of a row (scale r, zero point z) and a channel (scale c, times the layer's `scale`) is the integer sum
//! Σ (q - z) w, exact in i32, times r times c.
//!
//! Activations are asymmetric because few of them are: after ReLU, GELU or a norm with a bias the values of a row lie
//! unevenly about zero, and a symmetric scale leaves up to half of the integers unused. On the sentences of
//! `scripts/check_minilm.py` that halves the distance of the embeddings from those in f32.
//!
//! A run whose magnitudes are all below [`TINY`] counts as zeros and has scale 0: its scale would be subnormal and the
//! inverse near overflow. A run that holds NaN or infinity has scale NaN, and with it every result that it enters.

pub mod channel;
pub mod row;

/// Largest magnitudes below this count as zero: 2⁻¹¹⁸, the least power of two whose 254th part is a normal f32.
pub const TINY: f32 = f32::from_bits((127 - 118) << 23);

/// The longest reduction whose sums of products fit i32: ⌊(2³¹ - 1) / (255 · 127)⌋.
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
