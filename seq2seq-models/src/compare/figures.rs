//! Figures of two runs, one of which is right.

use super::probe::Deviation;
use crate::ForwardOutput;
use serde::Serialize;

/// How next tokens fare, teacher-forced on what f32 writes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NextToken {
    /// Tokens whose distribution was compared.
    pub positions: usize,
    /// Mean of KL(f32 ‖ format) in nats (Kullback and Leibler 1951).
    pub kl_mean: f64,
    /// The largest of them.
    pub kl_largest: f64,
    /// Share of positions where the same token is the likeliest.
    pub argmax_agrees: f64,
    /// Share of rows whose greedy output is the same to the token.
    pub rows_identical: f64,
}

/// How hidden states and a head's scores fare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct States {
    /// Mean over the rows of the cosine between the means of the last hidden state over the tokens.
    pub cosine_mean: f64,
    /// The lowest of them.
    pub cosine_lowest: f64,
    /// ‖logits' - logits‖ / ‖logits‖ over all rows; absent where there is no head.
    pub logits_relative_error: Option<f64>,
}

/// [`NextToken`] in the making.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NextTokenSums {
    positions: usize,
    rows: usize,
    kl: f64,
    kl_largest: f64,
    agreeing: usize,
    identical: usize,
}

impl NextTokenSums {
    /// Adds the logits after one position.
    pub(super) fn position(&mut self, expected: &[f32], got: &[f32]) {
        let kl = divergence(expected, got);
        self.positions += 1;
        self.kl += kl;
        self.kl_largest = self.kl_largest.max(kl);
        self.agreeing += usize::from(argmax(expected) == argmax(got));
    }

    /// Adds the greedy output of one row.
    pub(super) fn row(&mut self, expected: &[u32], got: &[u32]) {
        self.rows += 1;
        self.identical += usize::from(expected == got);
    }

    pub(super) fn finish(&self) -> NextToken {
        let positions = self.positions.max(1) as f64;
        NextToken {
            positions: self.positions,
            kl_mean: self.kl / positions,
            kl_largest: self.kl_largest,
            argmax_agrees: self.agreeing as f64 / positions,
            rows_identical: self.identical as f64 / self.rows.max(1) as f64,
        }
    }
}

/// [`States`] in the making.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StateSums {
    rows: usize,
    cosines: f64,
    /// 1 less the lowest cosine.
    furthest: f64,
    logits: Deviation,
}

impl StateSums {
    /// Adds the outputs of a batch, the last hidden state among them.
    pub(super) fn batch(&mut self, expected: &[ForwardOutput], got: &[ForwardOutput]) {
        for (e, g) in expected.iter().zip(got) {
            if e.name == "last_hidden_state" {
                for (e, g) in means(e).iter().zip(means(g)) {
                    let cosine = cosine(e, &g);
                    self.rows += 1;
                    self.cosines += cosine;
                    self.furthest = self.furthest.max(1.0 - cosine);
                }
            } else if e.name.ends_with("logits") {
                self.logits.add(&e.values, &g.values);
            }
        }
    }

    pub(super) fn finish(&self) -> States {
        States {
            cosine_mean: self.cosines / self.rows.max(1) as f64,
            cosine_lowest: 1.0 - self.furthest,
            logits_relative_error: (self.logits.values > 0).then(|| self.logits.relative()),
        }
    }
}

/// Σ p (ln p - ln q), p = softmax(expected), q = softmax(got).
fn divergence(expected: &[f32], got: &[f32]) -> f64 {
    let (p, q) = (log_sum_exp(expected), log_sum_exp(got));
    let term = |(&e, &g): (&f32, &f32)| {
        let (ln_p, ln_q) = (f64::from(e) - p, f64::from(g) - q);
        match ln_p.exp() {
            // 0 ln 0 = 0
            0.0 => 0.0,
            p => p * (ln_p - ln_q),
        }
    };
    // Never below 0, but for rounding.
    let sum: f64 = expected.iter().zip(got).map(term).sum();
    if sum < 0.0 { 0.0 } else { sum }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + logits.iter().map(|&v| (f64::from(v) - largest).exp()).sum::<f64>().ln()
}

/// The place of the largest, the first of several.
fn argmax(logits: &[f32]) -> usize {
    logits.iter().enumerate().fold(0, |best, (i, &v)| if v > logits[best] { i } else { best })
}

/// The mean over the rows of each sequence.
fn means(output: &ForwardOutput) -> Vec<Vec<f64>> {
    let mut rows = output.values.chunks(output.width.max(1));
    let mean = |&n: &usize| {
        let mut mean = vec![0.0; output.width];
        for row in rows.by_ref().take(n) {
            mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v) / n as f64);
        }
        mean
    };
    output.rows.iter().map(mean).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-6, "{got}, expected {expected}");
    }

    #[test]
    fn divergences_are_those_of_the_formula() {
        // p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4); logits may be shifted.
        let [a, b] = [[0.5f32, 0.25, 0.25], [0.25, 0.5, 0.25]].map(|p| p.map(f32::ln));
        let shifted = b.map(|v| v + 3.0);
        near(divergence(&a, &shifted), 0.25 * 2f64.ln());
        assert_eq!(divergence(&a, &a), 0.0);
        let banned = [0.0, f32::NEG_INFINITY, 0.0];
        near(divergence(&banned, &[0.0, 0.0, 0.0]), 1.5f64.ln());
    }

    #[test]
    fn next_tokens_are_counted() {
        let mut sums = NextTokenSums::default();
        sums.position(&[0.0, 1.0], &[0.0, 1.0]);
        sums.position(&[0.0, 1.0], &[1.0, 0.0]);
        sums.row(&[1, 2], &[1, 2]);
        sums.row(&[1, 2], &[1, 3]);
        sums.row(&[1, 2], &[1]);
        sums.row(&[3], &[3]);
        let found = sums.finish();
        // p = σ(1): p ln(p/q) + q ln(q/p) = (p - q) · 1
        let p = 1.0 / (1.0 + (-1f64).exp());
        near(found.kl_largest, 2.0 * p - 1.0);
        near(found.kl_mean, p - 0.5);
        assert_eq!((found.positions, found.argmax_agrees, found.rows_identical), (2, 0.5, 0.5));
    }

    #[test]
    fn rows_are_pooled_before_their_angle_is_taken() {
        let output = |name, rows: &[usize], width, values: &[f32]| ForwardOutput {
            name,
            rows: rows.to_vec(),
            per_position: true,
            width,
            values: values.to_vec(),
        };
        let hidden = |v: &[f32]| output("last_hidden_state", &[2, 1], 2, v);
        let logits = |v: &[f32]| output("start_logits", &[2, 1], 1, v);
        let mut sums = StateSums::default();
        // Means (1, 1) and (3, 4); then (2, 0) and (3, 4).
        sums.batch(
            &[hidden(&[2., 0., 0., 2., 3., 4.]), logits(&[3., 0., 4.])],
            &[hidden(&[2., 1., 2., -1., 3., 4.]), logits(&[3., 1., 4.])],
        );
        let found = sums.finish();
        near(found.cosine_lowest, 0.5f64.sqrt());
        near(found.cosine_mean, (1.0 + 0.5f64.sqrt()) / 2.0);
        near(found.logits_relative_error.unwrap(), 0.2);
        assert_eq!(StateSums::default().finish().logits_relative_error, None);
    }
}
