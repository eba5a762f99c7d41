//! An output channel of a weight as i8, symmetric about zero.
//!
//! With a = max |v|:
//!
//! - scale = a / 127, inverse = 127 / a (each one f32 division);
//! - quantised v = v · inverse (one f32 product), rounded to the nearest integer, ties to even.
//!
//! No value exceeds 127 in magnitude, so nothing saturates.

use super::TINY;

/// The scale of a channel with the largest magnitude `max_abs` (NaN where one is not finite),
/// and the factor that takes its values to -127..=127.
///
/// ```
/// use seq2seq_core::quant::channel::scale_and_inverse;
///
/// assert_eq!(scale_and_inverse(254.0), (2.0, 0.5));
/// assert_eq!(scale_and_inverse(1e-40), (0.0, 0.0)); // counts as zeros
/// assert!(scale_and_inverse(f32::INFINITY).0.is_nan());
/// ```
pub fn scale_and_inverse(max_abs: f32) -> (f32, f32) {
    match max_abs {
        a if !a.is_finite() => (f32::NAN, 0.0),
        a if a < TINY => (0.0, 0.0),
        a => (a / 127.0, 127.0 / a),
    }
}

/// The largest magnitude; not finite where a value is not.
///
/// ```
/// use seq2seq_core::quant::channel::max_abs;
///
/// assert_eq!(max_abs(&[0.5, -3.0, 2.0]), 3.0);
/// assert!(max_abs(&[0.5, f32::NAN]).is_nan()); // which f32::max would pass over
/// ```
pub fn max_abs(values: &[f32]) -> f32 {
    // The bit patterns of magnitudes are ordered as the magnitudes are, NaN last.
    let bits = values.iter().map(|v| v.to_bits() & 0x7fff_ffff).max();
    f32::from_bits(bits.unwrap_or(0))
}

/// Quantises a channel into `out` and returns its scale. One that is not finite becomes zeros with scale NaN.
///
/// ```
/// use seq2seq_core::quant::channel::quantise;
///
/// let weights = [0.5, -12.7, 3.3];
/// let mut integers = [0; 3];
/// let scale = quantise(&weights, &mut integers);
/// assert_eq!(integers, [5, -127, 33]);
/// // No weight is off by more than half a step.
/// let off = |(weight, &integer): (&f32, &i8)| (weight - scale * f32::from(integer)).abs();
/// assert!(weights.iter().zip(&integers).map(off).all(|off| off <= 0.5 * scale));
/// ```
///
/// # Panics
/// When `out` is not as long as `values`.
pub fn quantise(values: &[f32], out: &mut [i8]) -> f32 {
    assert_eq!(values.len(), out.len(), "as many quantised values as values");
    let (scale, inverse) = scale_and_inverse(max_abs(values));
    for (q, &v) in out.iter_mut().zip(values) {
        // NaN · 0 converts to 0.
        *q = (v * inverse).round_ties_even() as i8;
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> (Vec<i8>, f32) {
        let mut q = vec![0; values.len()];
        let scale = quantise(values, &mut q);
        (q, scale)
    }

    #[test]
    fn integers_up_to_127_are_themselves() {
        let (q, scale) = of(&[127.0, -127.0, 3.0, -0.0, 64.0]);
        assert_eq!((q.as_slice(), scale), ([127, -127, 3, 0, 64].as_slice(), 1.0));
    }

    #[test]
    fn ties_go_to_even() {
        assert_eq!(of(&[127.0, 0.5, 1.5, -2.5]).0, [127, 0, 2, -2]);
    }

    #[test]
    fn the_largest_never_saturates() {
        for exponent in -118..128i32 {
            for mantissa in [0, 1, 0x2aaaaa, 0x7ffffe, 0x7fffff] {
                let v = f32::from_bits((((exponent + 127) as u32) << 23) | mantissa);
                let (q, scale) = of(&[v, -v]);
                assert_eq!(q, [127, -127], "{v:e}");
                let back = f64::from(scale) * 127.0 / f64::from(v);
                assert!(scale.is_normal() && (back - 1.0).abs() < 1e-7, "{v:e}");
            }
        }
    }

    #[test]
    fn zeros_tiny_and_non_finite_channels() {
        assert_eq!(of(&[0.0, -0.0]), (vec![0, 0], 0.0));
        assert_eq!(of(&[f32::MIN_POSITIVE, 1e-40]), (vec![0, 0], 0.0));
        assert_eq!(of(&[]), (vec![], 0.0));
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (q, scale) = of(&[1.0, bad]);
            assert!(scale.is_nan());
            assert_eq!(q[0], 0);
        }
    }
}
