//! What a variational autoencoder takes a sentence for: a diagonal Gaussian over points z (Kingma and Welling 2014,
//! "Auto-encoding variational Bayes").
//!
//! A posterior is a row of 2 Z numbers, Z means and behind them Z logarithms of variances. A batch of them is so small
//! that its mathematics is not for backends: it is done here, in f64 with one rounding at the end, and
//! [`Autodiff`](crate::autodiff::Autodiff) brings it onto the tape.

use crate::{Error, Result};

/// `[B, 2 Z]` posteriors on the host.
///
/// ```
/// use seq2seq_core::{noise::normal_row, train::Posteriors};
///
/// // Two rows of three means and three logarithms of variances.
/// let values = [0.5, -1.0, 0.0, /**/ 0.0, 0.0, -20.0, /**/ 2.0, 1.0, 0.0, /**/ -20.0, -20.0, -20.0];
/// let posteriors = Posteriors::new(&values, 3)?;
/// assert_eq!(posteriors.rows(), 2);
/// let noise: Vec<f32> = (0..2).flat_map(|row| normal_row(1, row, 3)).collect();
/// let z = posteriors.draw(&noise)?;
/// assert_eq!(z[0], 0.5 + noise[0]); // a deviation of 1
/// assert!((z[3] - 2.0).abs() < 1e-3); // hardly any
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Posteriors<'a> {
    values: &'a [f32],
    size: usize,
}

/// How far posteriors are from the prior, the standard normal distribution.
///
/// ```
/// use seq2seq_core::train::{Divergence, DivergenceWeight, Posteriors};
///
/// // The prior itself is nowhere from it; a mean of 2 is 2²/2 nats away.
/// let divergence = |values: &[f32]| -> seq2seq_core::Result<Divergence> {
///     Ok(Posteriors::new(values, 1)?.divergence(&DivergenceWeight::default()).0)
/// };
/// assert_eq!(divergence(&[0.0, 0.0])?, Divergence::default());
/// assert_eq!(divergence(&[2.0, 0.0])?, Divergence { sum: 2.0, penalty: 2.0 });
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Divergence {
    /// Σ KL(posterior ‖ prior) over rows and dimensions, in nats.
    pub sum: f64,
    /// What of it is added to a loss: weight · B · Σ max(free bits, mean over the rows) over dimensions.
    pub penalty: f64,
}

/// How the divergence enters a loss.
///
/// ```
/// use seq2seq_core::train::{DivergenceWeight, Posteriors};
///
/// let values = [0.5, 2.0, 0.0, 0.0]; // means of 0.5 and 2, variances of 1
/// let by = DivergenceWeight { weight: 0.1, free_bits: 0.25 };
/// let (divergence, gradient) = Posteriors::new(&values, 2)?.divergence(&by);
/// assert_eq!(divergence.sum, 0.125 + 2.0);
/// // The first dimension is within what is free: it costs that much anyway, and is not pulled at.
/// assert!((divergence.penalty - 0.1 * (0.25 + 2.0)).abs() < 1e-9);
/// assert_eq!(gradient[0], 0.0);
/// assert!((gradient[1] - 0.1 * 2.0).abs() < 1e-6);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DivergenceWeight {
    /// Multiplies it: 1 makes the loss the negative evidence lower bound, less lets posteriors be told apart first (Bowman
    /// et al. 2016, "Generating sentences from a continuous space", section 3.1).
    pub weight: f64,
    /// λ, in nats: below this, the mean divergence of a dimension over the rows of a batch costs nothing more and has no
    /// gradient (Kingma et al. 2016, "Improved variational inference with inverse autoregressive flow", equation 15).
    pub free_bits: f64,
}

impl Default for DivergenceWeight {
    fn default() -> Self {
        Self { weight: 1.0, free_bits: 0.0 }
    }
}

impl<'a> Posteriors<'a> {
    /// Rows of 2 `size` numbers.
    ///
    /// # Errors
    /// Where the values do not make whole rows.
    pub fn new(values: &'a [f32], size: usize) -> Result<Self> {
        if size == 0 || !values.len().is_multiple_of(2 * size) {
            let reason = format!(
                "{} values are no rows of {size} means and as many variances",
                values.len()
            );
            return Err(Error::invalid("posteriors", reason));
        }
        Ok(Self { values, size })
    }

    /// B
    pub fn rows(&self) -> usize {
        self.values.len() / (2 * self.size)
    }

    /// Mean and logarithm of the variance of each row and dimension.
    fn elements(&self) -> impl Iterator<Item = (f64, f64)> {
        self.values.chunks(2 * self.size).flat_map(|row| {
            let (mean, log_variance) = row.split_at(self.size);
            mean.iter().zip(log_variance).map(|(&m, &l)| (f64::from(m), f64::from(l)))
        })
    }

    /// `[B, 2 Z]` of a gradient with respect to means and one with respect to logarithms of variances.
    fn side_by_side(&self, gradients: &[(f64, f64)]) -> Vec<f32> {
        let rows = gradients.chunks(self.size);
        let row = |row: &[(f64, f64)]| -> Vec<f32> {
            row.iter().map(|g| g.0 as f32).chain(row.iter().map(|g| g.1 as f32)).collect()
        };
        rows.flat_map(row).collect()
    }

    /// z = mean + σ ε, `[B, Z]`: the reparameterised draw, in which the noise ε (`[B, Z]`, standard normal) depends on
    /// nothing that is learned.
    ///
    /// # Errors
    /// Where there is not a number of noise for each dimension of each row.
    pub fn draw(&self, noise: &[f32]) -> Result<Vec<f32>> {
        Error::expect("draw", "numbers of noise", self.rows() * self.size, noise.len())?;
        let point = |((m, l), &e): ((f64, f64), &f32)| (m + (0.5 * l).exp() * f64::from(e)) as f32;
        Ok(self.elements().zip(noise).map(point).collect())
    }

    /// ∂z/∂(log σ²) = σ ε / 2 of each element, which is all that the way back of [`draw`](Self::draw) needs.
    pub(crate) fn slopes(&self, noise: &[f32]) -> Vec<f32> {
        let slope =
            |((_, l), &e): ((f64, f64), &f32)| (0.5 * (0.5 * l).exp() * f64::from(e)) as f32;
        self.elements().zip(noise).map(slope).collect()
    }

    /// The divergence, and the gradient of its [`penalty`](Divergence::penalty), `[B, 2 Z]`.
    ///
    /// KL of an element is (mean² + σ² - 1 - log σ²) / 2 (Kingma and Welling 2014, appendix B); by mean it changes as mean,
    /// by log σ² as (σ² - 1) / 2.
    pub fn divergence(&self, by: &DivergenceWeight) -> (Divergence, Vec<f32>) {
        let mut of_dimension = vec![0.0; self.size];
        for (i, (m, l)) in self.elements().enumerate() {
            of_dimension[i % self.size] += 0.5 * (m * m + l.exp() - 1.0 - l);
        }
        let free = by.free_bits * self.rows() as f64;
        // Written so that what is no number is not taken for free.
        let is_free = |sum: f64| sum < free;
        let charged = of_dimension.iter().map(|&sum| if is_free(sum) { free } else { sum });
        let divergence = Divergence {
            sum: of_dimension.iter().sum(),
            penalty: by.weight * charged.sum::<f64>(),
        };
        let gradients = self.elements().enumerate().map(|(i, (m, l))| {
            match is_free(of_dimension[i % self.size]) {
                true => (0.0, 0.0),
                false => (by.weight * m, by.weight * 0.5 * (l.exp() - 1.0)),
            }
        });
        let gradients: Vec<_> = gradients.collect();
        (divergence, self.side_by_side(&gradients))
    }
}

/// The way back of [`Posteriors::draw`]: from dz, `[B, Z]`, and the slopes, the gradient of the posteriors, `[B, 2 Z]`.
pub(crate) fn draw_backward(dz: &[f32], slopes: &[f32], size: usize) -> Vec<f32> {
    let rows = dz.chunks(size).zip(slopes.chunks(size));
    let row = |(dz, slopes): (&[f32], &[f32])| -> Vec<f32> {
        let of_variance = dz.iter().zip(slopes).map(|(d, s)| d * s);
        dz.iter().copied().chain(of_variance).collect()
    };
    rows.flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of three dimensions.
    const VALUES: [f32; 12] = [0.5, -1.25, 0.0, 0.25, -2.0, 0.0, -0.75, 2.0, 0.1, 1.0, -0.5, -0.1];
    const NOISE: [f32; 6] = [0.3, -1.0, 2.0, 0.0, 1.5, -0.2];

    fn posteriors(values: &[f32]) -> Posteriors<'_> {
        Posteriors::new(values, 3).unwrap()
    }

    /// ∫ q ln(q / p) by the midpoint rule over twelve deviations to both sides.
    fn integral(mean: f64, log_variance: f64) -> f64 {
        const PARTS: u32 = 200_000;
        let deviation = (0.5 * log_variance).exp();
        let step = 24.0 * deviation / f64::from(PARTS);
        let part = |i: u32| {
            let x = mean - 12.0 * deviation + (f64::from(i) + 0.5) * step;
            let log_q = -0.5 * ((x - mean) / deviation).powi(2) - deviation.ln();
            let log_p = -0.5 * x * x;
            (log_q.exp() / std::f64::consts::TAU.sqrt()) * (log_q - log_p) * step
        };
        (0..PARTS).map(part).sum()
    }

    #[test]
    fn the_divergence_is_the_integral() {
        let (divergence, _) = posteriors(&VALUES).divergence(&DivergenceWeight::default());
        let expected: f64 = posteriors(&VALUES).elements().map(|(m, l)| integral(m, l)).sum();
        assert!((divergence.sum - expected).abs() < 1e-6, "{} {expected}", divergence.sum);
        assert_eq!(divergence.penalty, divergence.sum);
        let prior = [0.0; 6];
        let none = posteriors(&prior).divergence(&DivergenceWeight::default());
        assert_eq!(none, (Divergence::default(), vec![0.0; 6]));
    }

    #[test]
    fn bits_are_free_by_dimension_over_the_batch() {
        // Means over both rows: (0.125 + 0.017 + 0.281 + 0.359) / 2, (1.349 + 2.053) / 2, (0.005 + 0.002) / 2.
        let weight = DivergenceWeight { weight: 0.5, free_bits: 0.5 };
        let (divergence, gradient) = posteriors(&VALUES).divergence(&weight);
        let kl = |m: f64, l: f64| 0.5 * (m * m + l.exp() - 1.0 - l);
        let second = kl(-1.25, -2.0) + kl(2.0, -0.5);
        assert!((divergence.penalty - 0.5 * (1.0 + second + 1.0)).abs() < 1e-6, "{divergence:?}");
        let whole = posteriors(&VALUES).divergence(&DivergenceWeight::default()).0;
        assert_eq!(divergence.sum, whole.sum);
        for (i, g) in gradient.iter().enumerate() {
            assert_eq!(*g != 0.0, i % 3 == 1, "{i}: {g}");
        }
    }

    /// Against differences in f64 of what is said in the documentation.
    #[test]
    fn gradients_are_those_of_differences() {
        const STEP: f32 = 1e-2;
        let weight = DivergenceWeight { weight: 0.7, free_bits: 0.1 };
        let dz = [0.9, -0.4, 0.2, -1.1, 0.6, 0.3];
        // The loss is Σ dz · z.
        let loss = |values: &[f32]| {
            let z = posteriors(values).draw(&NOISE).unwrap();
            let through: f64 = z.iter().zip(dz).map(|(z, d)| f64::from(*z) * f64::from(d)).sum();
            [through, posteriors(values).divergence(&weight).0.penalty]
        };
        let slopes = posteriors(&VALUES).slopes(&NOISE);
        let found = [draw_backward(&dz, &slopes, 3), posteriors(&VALUES).divergence(&weight).1];
        for i in 0..VALUES.len() {
            let at = |step: f32| {
                let mut values = VALUES;
                values[i] += step;
                loss(&values)
            };
            let (up, down) = (at(STEP), at(-STEP));
            for which in 0..2 {
                let expected = (up[which] - down[which]) / f64::from(2.0 * STEP);
                let found = f64::from(found[which][i]);
                assert!((found - expected).abs() < 1e-3, "{which} {i}: {found} {expected}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_or_is_no_number_shows() {
        assert!(Posteriors::new(&VALUES, 0).is_err() && Posteriors::new(&VALUES, 4).is_err());
        assert!(posteriors(&VALUES).draw(&NOISE[1..]).is_err());
        let mut values = VALUES;
        values[2] = f32::NAN;
        let free = DivergenceWeight { weight: 1.0, free_bits: 9.0 };
        assert!(posteriors(&values).divergence(&free).0.penalty.is_nan());
    }
}
