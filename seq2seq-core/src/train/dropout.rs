//! Which elements are dropped: a function of the seed, the step, the place in the model and the element.

use crate::noise::{philox, philox_side_by_side};

/// One use of dropout (Srivastava et al. 2014): an element is dropped with probability `rate`, others are multiplied by
/// 1 / (1 - rate).
///
/// Nothing is drawn in an order, so the result does not depend on threads, and the backward has the same elements again.
///
/// ```
/// use seq2seq_core::train::Dropout;
///
/// let dropout = Dropout { rate: 0.25, seed: 1, step: 7, place: 0 };
/// let factors: Vec<f32> = (0..4000).map(|column| dropout.factor(0, column)).collect();
/// let dropped = factors.iter().filter(|factor| **factor == 0.0).count();
/// assert!((900..1100).contains(&dropped), "{dropped} of 4000");
/// assert!(factors.iter().all(|&factor| factor == 0.0 || factor == dropout.scale()));
///
/// // The way back asks again and is told the same; the next layer has a mask of its own.
/// assert_eq!(dropout.factor(0, 17), factors[17]);
/// let mut row = vec![0.0; 4000];
/// dropout.factors(0, &mut row);
/// assert_eq!(row, factors);
/// let next = Dropout { place: 1, ..dropout };
/// assert!((0..4000).any(|column| next.factor(0, column) != factors[column]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The probability that an element is dropped, in [0, 1).
    pub rate: f32,
    /// Of the whole training.
    pub seed: u64,
    /// The pass over the model; no two passes share one.
    pub step: u32,
    /// The use within the pass; no two uses share one.
    pub place: u32,
}

impl Dropout {
    /// Elements with random bits below this are dropped.
    pub fn threshold(&self) -> u32 {
        // At most 2³² - 2⁸, as `rate` is at most the f32 below 1.
        (f64::from(self.rate) * 4_294_967_296.0) as u32
    }

    /// What is kept is multiplied by this: 1 / (1 - rate), an f32 quotient.
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.rate)
    }

    /// The random bits of columns 4 `block` to 4 `block` + 3 of `row`.
    pub fn bits(&self, row: u32, block: u32) -> [u32; 4] {
        philox([block, row, self.place, self.step], self.seed)
    }

    /// The [`factor`](Self::factor) of each of the first columns of `row`, as many as `out` holds. In a function that has a
    /// processor's vectors it is compiled for them.
    #[inline(always)]
    pub fn factors(&self, row: usize, out: &mut [f32]) {
        self.factors_from(row, 0, out);
    }

    /// As [`factors`](Self::factors), from column 4 `block` on.
    ///
    /// ```
    /// # use seq2seq_core::train::Dropout;
    /// let dropout = Dropout { rate: 0.5, seed: 1, step: 0, place: 3 };
    /// let (mut row, mut rest) = ([0.0; 100], [0.0; 60]);
    /// dropout.factors(7, &mut row);
    /// dropout.factors_from(7, 10, &mut rest);
    /// assert_eq!(rest, row[40..]);
    /// ```
    #[inline(always)]
    pub fn factors_from(&self, row: usize, block: usize, out: &mut [f32]) {
        /// Blocks of random bits at once: enough for the widest vectors, and for multiplications not to wait for each other.
        const BLOCKS: usize = 16;
        let (threshold, scale) = (self.threshold(), self.scale());
        let mut counters =
            [[0; BLOCKS], [row as u32; BLOCKS], [self.place; BLOCKS], [self.step; BLOCKS]];
        for (i, out) in out.chunks_mut(4 * BLOCKS).enumerate() {
            for (j, counter) in counters[0].iter_mut().enumerate() {
                *counter = (block + i * BLOCKS + j) as u32;
            }
            let bits = philox_side_by_side(counters, self.seed);
            let mut factors = [[0.0; 4]; BLOCKS];
            for j in 0..BLOCKS {
                for word in 0..4 {
                    factors[j][word] = if bits[word][j] < threshold { 0.0 } else { scale };
                }
            }
            out.copy_from_slice(&factors.as_flattened()[..out.len()]);
        }
    }

    /// 0 where the element is dropped, [`scale`](Self::scale) where it is not.
    pub fn factor(&self, row: usize, column: usize) -> f32 {
        let bits = self.bits(row as u32, (column / 4) as u32)[column % 4];
        if bits < self.threshold() { 0.0 } else { self.scale() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DROPOUT: Dropout = Dropout { rate: 0.3, seed: 7, step: 2, place: 5 };

    fn dropped(d: Dropout) -> Vec<bool> {
        (0..200).flat_map(|r| (0..50).map(move |c| d.factor(r, c) == 0.0)).collect()
    }

    #[test]
    fn the_factors_of_a_row_are_those_of_its_columns() {
        for columns in [0, 1, 3, 4, 63, 64, 65, 130] {
            let mut row = vec![f32::NAN; columns];
            DROPOUT.factors(11, &mut row);
            let want: Vec<f32> = (0..columns).map(|c| DROPOUT.factor(11, c)).collect();
            assert_eq!(row, want);
        }
    }

    #[test]
    fn as_many_are_dropped_as_the_rate_says() {
        for rate in [0.0, 0.1, 0.5, 0.9] {
            let n = dropped(Dropout { rate, ..DROPOUT }).iter().filter(|d| **d).count() as f64;
            let (mean, deviation) =
                (1e4 * f64::from(rate), (1e4 * f64::from(rate * (1.0 - rate))).sqrt());
            assert!((n - mean).abs() <= 4.0 * deviation, "{n} of 10000 at a rate of {rate}");
        }
        let most = Dropout { rate: 1.0f32.next_down(), ..DROPOUT };
        assert!(most.scale().is_finite() && most.threshold() > u32::MAX - 257);
    }

    /// Any two masks agree in rate² + (1 - rate)² of their elements, give or take four deviations.
    #[test]
    fn seeds_steps_and_places_have_masks_of_their_own() {
        let first = dropped(DROPOUT);
        for other in [
            Dropout { seed: 8, ..DROPOUT },
            Dropout { step: 3, ..DROPOUT },
            Dropout { place: 6, ..DROPOUT },
        ] {
            let agree = first.iter().zip(dropped(other)).filter(|(a, b)| **a == *b).count();
            assert!((agree as f64 - 5800.0).abs() < 4.0 * 49.4, "{agree} of 10000");
        }
    }
}
