//! A row of activations as u8 with a scale and a zero point.
//!
//! With lo = min(0, min v) and hi = max(0, max v):
//!
//! - scale = hi / 254 - lo / 254, inverse = 1 / scale (each operation an f32 one; the difference cannot overflow);
//! - zero point z = -lo · inverse (one f32 product), rounded to the nearest integer, ties to even;
//! - q = v · inverse (one f32 product) + z, this sum rounded once, to the nearest integer, ties to even.
//!
//! A value of zero becomes z exactly. Adding z + [`SHIFT`] to the product rounds the sum as asked: z + 1.5 · 2²³ is an
//! even integer of f32 or the odd one next to it, and in its binade the distance of two f32 is 1.
//!
//! **0 <= q <= 255 without a clamp.** With s = (hi - lo) / 254, scale is s (1 + a) with |a| <= 3 u + u², u = 2⁻²⁴: two
//! divisions and a difference of terms of one sign (a term that underflows is off by u 2⁻¹²⁶ <= u · scale, as scale
//! is normal), and so v · inverse is (v / s)(1 + b) with |b| < 6 u. Let m = -lo · inverse, the rounded product. Products
//! round monotonically and without regard to sign, so the least product is -m. As z >= m - 1/2, the least sum is
//! -1/2, which rounds to 0. As z <= m + 1/2, the largest is (hi / s - lo / s)(1 + 6 u) + 1/2 = 254 (1 + 6 u) + 1/2, which
//! is below 255.5. (127 steps a side and a range of 255 would reach 256 where both roundings go up.)

use super::TINY;

/// 1.5 · 2²³: in its binade the distance of f32 is 1, so that adding it rounds to an integer, ties to even, which then
/// stands in the low bits; and these are zero in the constant.
pub const SHIFT: f32 = 12_582_912.0;

/// How a row becomes integers, and back: v is nearly (q - zero) · scale.
///
/// ```
/// use seq2seq_core::quant::row::Affine;
///
/// // Behind a ReLU nothing is negative: all 255 steps are for what there is.
/// let affine = Affine::of((0.0, 25.4));
/// assert_eq!((affine.zero, affine.quantise(0.0), affine.quantise(25.4)), (0, 0, 254));
/// let back = |q: u8| (f32::from(q) - affine.zero as f32) * affine.scale;
/// assert!((back(affine.quantise(7.77)) - 7.77).abs() <= 0.5001 * affine.scale);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// The distance of two integers; 0 for a row of zeros, NaN for one that is not finite.
    pub scale: f32,
    /// 1 / scale; 0 where scale is 0 or NaN.
    pub inverse: f32,
    /// The integer of the value 0: 0..=254.
    pub zero: i32,
}

impl Affine {
    /// For values from `lo` <= 0 to `hi` >= 0, either not finite where a value is not.
    pub fn of((lo, hi): (f32, f32)) -> Self {
        match () {
            () if !(lo.is_finite() && hi.is_finite()) => {
                Self { scale: f32::NAN, inverse: 0.0, zero: 0 }
            }
            () if -lo < TINY && hi < TINY => Self { scale: 0.0, inverse: 0.0, zero: 0 },
            () => {
                let scale = hi / 254.0 - lo / 254.0;
                let inverse = 1.0 / scale;
                Self { scale, inverse, zero: (-lo * inverse).round_ties_even() as i32 }
            }
        }
    }

    /// The integer of a finite value of the row.
    pub fn quantise(&self, v: f32) -> u8 {
        (v * self.inverse + (SHIFT + self.zero as f32)).to_bits() as u8
    }
}

/// The smallest and the largest of the values and 0; not finite where a value is not.
///
/// ```
/// use seq2seq_core::quant::row::extremes;
///
/// assert_eq!(extremes(&[3.0, 1.0]), (0.0, 3.0)); // zero is always among them: it is to be exact
/// assert_eq!(extremes(&[3.0, -1.0]), (-1.0, 3.0));
/// ```
pub fn extremes(values: &[f32]) -> (f32, f32) {
    // As signed integers, bit patterns of positive values are ordered as the values are, NaN last, and negative ones are
    // below. As unsigned ones, those of negative values are ordered by magnitude, NaN last, above all positive ones.
    let (lo, hi) = values.iter().fold((1 << 31, 0), |(lo, hi), v| {
        let bits = v.to_bits();
        (bits.max(lo), bits.cast_signed().max(hi))
    });
    (f32::from_bits(lo), f32::from_bits(hi.cast_unsigned()))
}

/// Quantises a row into `out`. One that is not finite becomes zeros.
///
/// ```
/// use seq2seq_core::quant::row::quantise;
///
/// let mut bytes = [0; 4];
/// let affine = quantise(&[-1.0, 0.0, 0.5, 1.54], &mut bytes);
/// // 2.54 over 254 steps, of which a hundred lie below zero.
/// assert_eq!((bytes, affine.zero), ([0, 100, 150, 254], 100));
/// assert!((affine.scale - 0.01).abs() < 1e-8);
/// ```
///
/// # Panics
/// When `out` is not as long as `values`.
pub fn quantise(values: &[f32], out: &mut [u8]) -> Affine {
    assert_eq!(values.len(), out.len(), "as many quantised values as values");
    let affine = Affine::of(extremes(values));
    match affine.scale.is_nan() {
        true => out.fill(0),
        false => out.iter_mut().zip(values).for_each(|(q, &v)| *q = affine.quantise(v)),
    }
    affine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> (Vec<u8>, f32, i32) {
        let mut q = vec![7; values.len()];
        let Affine { scale, zero, .. } = quantise(values, &mut q);
        (q, scale, zero)
    }

    #[test]
    fn integers_over_a_range_of_254_are_themselves() {
        assert_eq!(of(&[127.0, -127.0, 3.0, -0.0]), (vec![254, 0, 130, 127], 1.0, 127));
        assert_eq!(of(&[254.0, 1.0, 0.0]), (vec![254, 1, 0], 1.0, 0));
        assert_eq!(of(&[-254.0, -1.0, 0.0]), (vec![0, 253, 254], 1.0, 254));
    }

    #[test]
    fn ties_go_to_even() {
        // The zero point is 1, and it is the sum that is even.
        assert_eq!(of(&[-1.0, 253.0, 0.5, 1.5, 2.5]), (vec![0, 254, 2, 2, 4], 1.0, 1));
        // Both the zero point, 126.5, and the largest, 127.5 + 126, lie between two integers.
        assert_eq!(of(&[-126.5, 127.5]), (vec![0, 254], 1.0, 126));
    }

    /// The definition in f64, where nothing else rounds.
    fn exact(v: f32, affine: &Affine) -> f64 {
        (f64::from(v * affine.inverse) + f64::from(affine.zero)).round_ties_even()
    }

    #[test]
    fn every_value_fits_a_byte() {
        let mut largest = 0;
        for exponent in [-118, -117, -60, -1, 0, 1, 90, 126, 127] {
            for mantissa in [0, 1, 0x2a_aaaa, 0x55_5555, 0x7f_fffe, 0x7f_ffff] {
                let a = f32::from_bits((((exponent + 127) as u32) << 23) | mantissa);
                let ratios = (0..=600).map(|i| i as f32 / 600.0);
                for part in ratios.chain([1e-3, 1e-9, 1e-38]) {
                    for (lo, hi) in [(-a, a * part), (-a * part, a)] {
                        let affine = Affine::of((lo, hi));
                        assert!(affine.scale.is_normal() && affine.inverse.is_normal());
                        assert!((0..=254).contains(&affine.zero), "{lo:e} {hi:e}");
                        for v in [lo, hi, lo * 0.5, hi * 0.37, 0.0] {
                            let q = exact(v, &affine);
                            assert!((0.0..=255.0).contains(&q), "{v:e} of {lo:e} {hi:e}: {q}");
                            assert_eq!(f64::from(affine.quantise(v)), q, "{v:e} of {lo:e} {hi:e}");
                            let back = (q - f64::from(affine.zero)) * f64::from(affine.scale);
                            // Each of the two roundings to an integer is off by half a step.
                            let limit = 1.0001 * f64::from(affine.scale);
                            assert!((back - f64::from(v)).abs() <= limit, "{v:e} of {lo:e} {hi:e}");
                            largest = largest.max(affine.quantise(v));
                        }
                        assert_eq!(i32::from(affine.quantise(0.0)), affine.zero);
                    }
                }
            }
        }
        assert_eq!(largest, 255, "the room above 254 is needed");
    }

    #[test]
    fn extremes_are_those_of_the_values_and_zero() {
        assert_eq!(extremes(&[]), (0.0, 0.0));
        assert_eq!(extremes(&[3.0, 1.0]), (0.0, 3.0));
        assert_eq!(extremes(&[-3.0, -1.0, -0.0]), (-3.0, 0.0));
        assert_eq!(extremes(&[-3.0, 1e-40, -1e30, 2.0]), (-1e30, 2.0));
    }

    #[test]
    fn zeros_tiny_and_non_finite_rows() {
        assert_eq!(of(&[0.0, -0.0]), (vec![0, 0], 0.0, 0));
        assert_eq!(of(&[f32::MIN_POSITIVE, -1e-40]), (vec![0, 0], 0.0, 0));
        assert_eq!(of(&[]), (vec![], 0.0, 0));
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (q, scale, zero) = of(&[1.0, bad, -2.0]);
            assert!(scale.is_nan());
            assert_eq!((q, zero), (vec![0; 3], 0));
        }
    }
}
