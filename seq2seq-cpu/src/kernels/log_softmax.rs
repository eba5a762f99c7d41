//! log-softmax of one row of scores: (x - largest) - ln Σ e^(x - largest).
//!
//! Subtracting the largest first keeps large scores apart (1e30 beside 1e30 has probability 1/2). The exponentials are
//! f32; they are summed in f32 over [`CHUNK`] values, lane by lane, and in f64 over the chunks, so that a vocabulary of
//! any size costs no digits.

use crate::simd::{Kernel, Simd, math};

/// Values whose exponentials are added in f32.
const CHUNK: usize = 1024;

/// What turns the scores of a row into log-probabilities.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norm {
    /// The largest score; NaN where one is, perhaps. Minus infinity where all are, and then nothing is subtracted.
    pub(crate) largest: f32,
    /// Σ e^(x - largest); NaN where a score is NaN or plus infinity.
    pub(crate) total: f64,
}

impl Norm {
    /// The log-probability of a score of the row.
    pub(crate) fn log_probability(&self, score: f32) -> f32 {
        match self.largest {
            f32::NEG_INFINITY => score,
            largest => (score - largest) - self.total.ln() as f32,
        }
    }

    /// Turns all scores of the row into log-probabilities.
    pub(crate) fn apply(&self, scores: &mut [f32]) {
        if self.largest != f32::NEG_INFINITY {
            let log = self.total.ln() as f32;
            scores.iter_mut().for_each(|score| *score = (*score - self.largest) - log);
        }
    }
}

/// The [`Norm`] of a row.
pub(crate) struct Measure<'a>(pub(crate) &'a [f32]);

impl Kernel for Measure<'_> {
    type Output = Norm;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Norm {
        let Self(scores) = self;
        let largest = match largest(s, scores) {
            // Finding the largest may have passed over a NaN.
            f32::NEG_INFINITY if scores.iter().any(|x| x.is_nan()) => f32::NAN,
            largest => largest,
        };
        MeasureFrom { scores, largest }.run(s)
    }
}

/// The same where the largest score is known; NaN where any score is.
pub(crate) struct MeasureFrom<'a> {
    pub(crate) scores: &'a [f32],
    pub(crate) largest: f32,
}

impl Kernel for MeasureFrom<'_> {
    type Output = Norm;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Norm {
        let Self { scores, largest } = self;
        if largest == f32::NEG_INFINITY {
            return Norm { largest, total: 0.0 };
        }
        let mut total = 0.0;
        for chunk in scores.chunks(CHUNK) {
            let mut sum = s.zero();
            let mut parts = chunk.chunks_exact(S::LANES);
            for part in &mut parts {
                sum = s.add(sum, math::exp(s, s.sub(s.load(part), s.splat(largest))));
            }
            let rest = parts.remainder();
            if !rest.is_empty() {
                let rest = s.load_partial(rest, f32::NEG_INFINITY);
                sum = s.add(sum, math::exp(s, s.sub(rest, s.splat(largest))));
            }
            total += f64::from(s.reduce_add(sum));
        }
        Norm { largest, total }
    }
}

/// The largest score of a row; minus infinity for an empty one. NaN may be lost.
#[inline(always)]
pub(crate) fn largest<S: Simd>(s: S, scores: &[f32]) -> f32 {
    let mut most = [s.splat(f32::NEG_INFINITY); 4];
    let mut chunks = scores.chunks_exact(4 * S::LANES);
    for chunk in &mut chunks {
        for (i, most) in most.iter_mut().enumerate() {
            *most = s.max(*most, s.load(&chunk[i * S::LANES..]));
        }
    }
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let [a, b, c, d] = most;
    s.reduce_max(s.max(s.max(a, b), s.max(c, d))).max(rest)
}

/// e^(x - largest) of every score; 0 for minus infinity.
pub(crate) struct Weigh<'a> {
    pub(crate) scores: &'a [f32],
    pub(crate) largest: f32,
    pub(crate) weights: &'a mut [f32],
}

impl Kernel for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let largest = s.splat(self.largest);
        let weights = self.weights.chunks_mut(S::LANES);
        for (score, weight) in self.scores.chunks(S::LANES).zip(weights) {
            match score.len() == S::LANES {
                true => s.store(math::exp(s, s.sub(s.load(score), largest)), weight),
                false => {
                    let e = math::exp(s, s.sub(s.load_partial(score, 0.0), largest));
                    s.store_partial(e, weight);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::dispatch;
    use seq2seq_core::reference::top_k::log_softmax;

    #[test]
    fn log_probabilities_are_those_of_the_definition() {
        let ramp = |n: usize| (0..n).map(|i| (i * 37 % 101) as f32 / 7.0 - 9.0).collect();
        let no = f32::NEG_INFINITY;
        let rows: [Vec<f32>; 8] = [
            ramp(1),
            ramp(15),
            ramp(1024),
            ramp(50_001),
            vec![1e30, 1e30, -1e30],
            vec![no; 20],
            vec![no, 3.0, no],
            vec![0.0, f32::NAN, no],
        ];
        for isa in Isa::available() {
            for row in &rows {
                let norm = dispatch(isa, Measure(row));
                let mut all = row.clone();
                norm.apply(&mut all);
                for (i, want) in log_softmax(row).into_iter().enumerate() {
                    let close = |got: f32| {
                        let got = f64::from(got);
                        got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() < 3e-6
                    };
                    assert!(close(all[i]), "{isa} {i} of {}: {} for {want}", row.len(), all[i]);
                    assert!(close(norm.log_probability(row[i])), "{isa} {i}");
                }
            }
        }
    }

    #[test]
    fn a_lone_nan_is_not_lost() {
        for isa in Isa::available() {
            for n in [2, 17, 70] {
                let mut row = vec![f32::NEG_INFINITY; n];
                row[0] = f32::NAN;
                let norm = dispatch(isa, Measure(&row));
                assert!(norm.log_probability(row[1]).is_nan(), "{isa} {n}");
                norm.apply(&mut row);
                assert!(row.iter().all(|x| x.is_nan()), "{isa} {n}");
            }
        }
    }

    #[test]
    fn weights_are_exponentials() {
        let scores: Vec<f32> = (0..37).map(|i| -(i as f32) / 3.0).collect();
        for isa in Isa::available() {
            let mut weights = vec![f32::NAN; 37];
            dispatch(isa, Weigh { scores: &scores, largest: 0.0, weights: &mut weights });
            for (w, s) in weights.iter().zip(&scores) {
                assert!((w / s.exp() - 1.0).abs() < 1e-6, "{isa}");
            }
        }
    }
}
