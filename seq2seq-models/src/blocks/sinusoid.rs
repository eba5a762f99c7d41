//! Tables of sines and cosines.

use crate::{Result, plan::SinusoidLayout};
use seq2seq_core::HostTensor;

/// The `[rows, width]` table of Vaswani et al. 2017, section 3.5: sin and cos of p · 10000^(-2j/M).
///
/// Angles are taken in f64 and the result rounded, as transformers does (Marian, PARITY trap 17). An odd width has
/// one sine more than cosines.
pub(super) fn table(rows: usize, width: usize, layout: SinusoidLayout) -> Result<HostTensor> {
    let SinusoidLayout::Halves = layout;
    let sines = width.div_ceil(2);
    let mut values = Vec::with_capacity(rows * width);
    for p in 0..rows {
        let angle = |j: usize| p as f64 / 10_000f64.powf(2.0 * j as f64 / width as f64);
        values.extend((0..sines).map(|j| angle(j).sin() as f32));
        values.extend((0..width - sines).map(|j| angle(j).cos() as f32));
    }
    Ok(HostTensor::from_f32(vec![rows, width], &values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_values_computed_by_numpy() {
        let t = table(3, 5, SinusoidLayout::Halves).unwrap().to_f32();
        assert_eq!(t[..5], [0.0, 0.0, 0.0, 1.0, 1.0]);
        let row: Vec<f64> = vec![
            (2f64).sin(),
            (2.0 / 10_000f64.powf(0.4)).sin(),
            (2.0 / 10_000f64.powf(0.8)).sin(),
            (2f64).cos(),
            (2.0 / 10_000f64.powf(0.4)).cos(),
        ];
        assert_eq!(t[10..], row.iter().map(|&v| v as f32).collect::<Vec<_>>());
    }
}
