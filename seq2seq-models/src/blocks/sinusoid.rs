//! Tables of sines and cosines.

use crate::{Result, plan::SinusoidLayout};
use seq2seq_core::HostTensor;

/// Sines and cosines of position times frequency, after Vaswani et al. 2017, section 3.5: `[offset + rows, width]`, row p for
/// position p. Rows before `offset` are zeros.
///
/// As transformers has them, angles are taken in f64 and the result rounded in one layout, and all is f32 in the other
/// (PARITY trap 17).
pub(super) fn table(
    rows: usize,
    offset: usize,
    width: usize,
    layout: SinusoidLayout,
) -> Result<HostTensor> {
    let all = offset + rows;
    let mut values = vec![0.0; all * width];
    for (p, row) in values.chunks_mut(width).enumerate().skip(offset) {
        match layout {
            SinusoidLayout::Halves => {
                let angle = |j: usize| p as f64 / 10_000f64.powf(2.0 * j as f64 / width as f64);
                let (sines, cosines) = row.split_at_mut(width.div_ceil(2));
                fill(sines, |j| angle(j).sin() as f32);
                fill(cosines, |j| angle(j).cos() as f32);
            }
            SinusoidLayout::Tensor2Tensor => {
                let half = width / 2;
                let step = (10_000f64.ln() / (half as f64 - 1.0)) as f32;
                let angle = |j: usize| p as f32 * (j as f32 * -step).exp();
                let (sines, cosines) = row.split_at_mut(half);
                fill(sines, |j| angle(j).sin());
                fill(&mut cosines[..half], |j| angle(j).cos());
            }
        }
    }
    Ok(HostTensor::from_f32(vec![all, width], &values)?)
}

fn fill(columns: &mut [f32], value: impl Fn(usize) -> f32) {
    columns.iter_mut().enumerate().for_each(|(j, column)| *column = value(j));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_values_computed_by_numpy() {
        let t = table(3, 0, 5, SinusoidLayout::Halves).unwrap().to_f32();
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

    /// Numbers from `get_embedding` of transformers 5.23.0's M2M100, whose padding token is 1.
    #[test]
    fn agrees_with_tensor2tensor() {
        let t = table(2, 2, 7, SinusoidLayout::Tensor2Tensor).unwrap();
        assert_eq!(t.shape(), [4, 7]);
        let t = t.to_f32();
        assert_eq!(t[..14], [0.0; 14]);
        let want = [
            0.9092974,
            0.019998666,
            0.00019999998,
            -0.41614684,
            0.9998,
            1.,
            0.0,
            0.14112,
            0.0299955,
            0.00029999996,
            -0.9899925,
            0.99955004,
            0.99999994,
            0.0,
        ];
        for (got, want) in t[14..].iter().zip(want) {
            assert!((got - want).abs() <= 1e-7, "{got}, expected {want}");
        }
    }
}
