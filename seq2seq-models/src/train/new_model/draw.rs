//! The values of new tensors.

use crate::train::random::Draws;
use std::f64::consts::TAU;

/// How the values of a tensor are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Draw {
    Constant(f32),
    /// Of a normal distribution around 0 with this deviation.
    Normal(f64),
    /// From minus this to this.
    Uniform(f64),
}

impl Draw {
    pub(super) fn values(self, n: usize, draws: &mut Draws) -> impl Iterator<Item = f32> {
        (0..n).map(move |_| match self {
            Self::Constant(value) => value,
            Self::Normal(deviation) => {
                // Box and Muller 1958. The first number is from above 0 to 1.
                let radius = (-2.0 * (1.0 - draws.unit()).ln()).sqrt();
                (deviation * radius * (TAU * draws.unit()).cos()) as f32
            }
            Self::Uniform(limit) => (limit * (2.0 * draws.unit() - 1.0)) as f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random::Purpose;

    #[test]
    fn deviations_are_as_asked_for() {
        for (draw, deviation) in [
            (Draw::Normal(0.5), 0.5),
            (Draw::Uniform(0.3), 0.3 / 3f64.sqrt()),
            (Draw::Constant(0.0), 0.0),
        ] {
            let mut draws = Draws::new(1, Purpose::Weights, 0, 0);
            let values: Vec<f64> = draw.values(20_000, &mut draws).map(f64::from).collect();
            let mean = values.iter().sum::<f64>() / 2e4;
            let square = values.iter().map(|v| v * v).sum::<f64>() / 2e4;
            assert!(mean.abs() < 0.02 && (square.sqrt() - deviation).abs() < 0.01, "{draw:?}");
        }
    }
}
