//! Random numbers that training can take up again at any point.
//!
//! Numbers come from Philox ([`seq2seq_core::noise`]) and are functions of the seed, of what they are for, of the epoch
//! and of the row. Nothing of them needs to be saved, and no row's numbers hang on what was drawn for another.
//!
//! ```
//! use seq2seq_models::train::random::{Draws, Purpose};
//!
//! let order = |epoch| {
//!     let mut rows: Vec<u32> = (0..100).collect();
//!     Draws::new(1, Purpose::Rows, epoch, 0).shuffle(&mut rows);
//!     rows
//! };
//! assert_eq!(order(3), order(3)); // whatever was drawn before
//! assert_ne!(order(3), order(4));
//!
//! let mut draws = Draws::new(1, Purpose::Corruption, 0, 7);
//! assert!(draws.unit() < 1.0 && draws.index(6) < 6);
//! assert_eq!(draws.choose(3, 10).len(), 3); // in ascending order
//! ```

use seq2seq_core::noise::philox;

/// What numbers are for; different purposes have independent numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The order of rows.
    Rows = 1,
    /// The order of batches.
    Batches = 2,
    /// What is masked, deleted or permuted ([`denoise`](super::denoise)).
    Corruption = 3,
    /// New weights; a tensor's numbers are those of the row that its name is hashed to.
    Weights = 4,
    /// Dropout.
    Dropout = 5,
    /// What adapters begin with ([`LoraOptions`](super::LoraOptions)).
    Adapters = 6,
    /// Which tokens a decoder reads of its own, and what they are ([`Sampling`](super::Sampling)).
    Sampling = 7,
    /// Points that are drawn of posteriors in training ([`vae`](super::vae)).
    Latent = 8,
    /// The same in evaluations.
    EvaluatedLatent = 9,
    /// Which words a decoder does not get to read.
    Words = 10,
}

/// The key under which an epoch draws for a purpose.
pub(crate) fn key(seed: u64, purpose: Purpose, epoch: u64) -> u64 {
    let [low, high, ..] = philox([epoch as u32, (epoch >> 32) as u32, purpose as u32, 0], seed);
    u64::from(high) << 32 | u64::from(low)
}

/// A sequence of random numbers.
#[derive(Debug, Clone)]
pub struct Draws {
    key: u64,
    row: u64,
    drawn: u64,
}

impl Draws {
    /// The numbers for `row` in `epoch`.
    pub fn new(seed: u64, purpose: Purpose, epoch: u64, row: u64) -> Self {
        Self { key: key(seed, purpose, epoch), row, drawn: 0 }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [n, row] = [self.drawn, self.row];
        self.drawn += 1;
        let [low, high, ..] =
            philox([n as u32, (n >> 32) as u32, row as u32, (row >> 32) as u32], self.key);
        u64::from(high) << 32 | u64::from(low)
    }

    /// A number from 0 up to, but not including, `n`; each as likely as any other. 0 where `n` is 0.
    ///
    /// Lemire 2019, "Fast random integer generation in an interval".
    pub fn below(&mut self, n: u64) -> u64 {
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            // 2^64 mod n of the 2^64 numbers would favour some results.
            if product as u64 >= n.wrapping_neg().checked_rem(n).unwrap_or(0) {
                return (product >> 64) as u64;
            }
        }
    }

    /// As [`below`](Self::below), for what is in memory.
    pub fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    /// A number from 0 up to, but not including, 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of the Poisson distribution with mean `lambda`, at most some hundreds: by inversion, in time in
    /// proportion to the number.
    pub fn poisson(&mut self, lambda: f64) -> usize {
        let u = self.unit();
        let mut k = 0;
        let mut probability = (-lambda).exp();
        let mut sum = probability;
        // Where rounding keeps the sum below u, the probabilities come to nothing in the end.
        while u >= sum && probability > 0.0 {
            k += 1;
            probability *= lambda / k as f64;
            sum += probability;
        }
        k
    }

    /// Puts items in an order of which each is as likely as any other (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.index(i + 1));
        }
    }

    /// `count` of the numbers below `n` in ascending order, all if there are fewer; each choice as likely as any other
    /// (Knuth, The Art of Computer Programming, section 3.4.2, algorithm S).
    pub fn choose(&mut self, count: usize, n: usize) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(count.min(n));
        for i in 0..n {
            if self.index(n - i) < count.min(n) - chosen.len() {
                chosen.push(i);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(row: u64) -> Draws {
        Draws::new(5, Purpose::Batches, 2, row)
    }

    /// Σ (seen - expected)² / expected.
    fn chi_square(seen: &[u64], probabilities: impl Iterator<Item = f64>) -> f64 {
        let n = seen.iter().sum::<u64>() as f64;
        seen.iter().zip(probabilities).map(|(&s, p)| (s as f64 - n * p).powi(2) / (n * p)).sum()
    }

    #[test]
    fn numbers_are_those_of_seed_purpose_epoch_and_row() {
        let first = |seed, purpose, epoch, row| Draws::new(seed, purpose, epoch, row).bits();
        let base = first(1, Purpose::Rows, 0, 0);
        assert_eq!(base, first(1, Purpose::Rows, 0, 0));
        for other in [
            first(2, Purpose::Rows, 0, 0),
            first(1, Purpose::Batches, 0, 0),
            first(1, Purpose::Rows, 1, 0),
            first(1, Purpose::Rows, 1 << 32, 0),
            first(1, Purpose::Rows, 0, 1),
            first(1, Purpose::Rows, 0, 1 << 32),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn distributions_are_as_said() {
        let mut random = draws(0);
        let mut dice = [0; 6];
        let mut units = [0; 8];
        for _ in 0..60_000 {
            dice[random.index(6)] += 1;
            units[(random.unit() * 8.0) as usize] += 1;
        }
        // 0.999 quantiles of chi square with 5 and 7 degrees of freedom: 20.5, 24.3.
        assert!(chi_square(&dice, [1.0 / 6.0; 6].into_iter()) < 20.5, "{dice:?}");
        assert!(chi_square(&units, [0.125; 8].into_iter()) < 24.3, "{units:?}");
        let mut counts = [0; 9];
        for _ in 0..60_000 {
            counts[random.poisson(3.0).min(8)] += 1;
        }
        let mut poisson: Vec<f64> = (0..8)
            .scan((-3f64).exp(), |p, k| Some(std::mem::replace(p, *p * 3.0 / (k + 1) as f64)))
            .collect();
        poisson.push(1.0 - poisson.iter().sum::<f64>());
        // 8 degrees of freedom: 26.1.
        assert!(chi_square(&counts, poisson.into_iter()) < 26.1, "{counts:?}");
        assert_eq!((random.below(0), random.below(1), random.poisson(0.0)), (0, 0, 0));
    }

    #[test]
    fn choices_and_orders_are_all_as_likely() {
        let mut random = draws(1);
        let (mut pairs, mut orders) = ([0; 16], [0; 27]);
        for _ in 0..24_000 {
            let chosen = random.choose(2, 4);
            assert!(chosen.len() == 2 && chosen[0] < chosen[1]);
            pairs[chosen[0] * 4 + chosen[1]] += 1;
            let mut order = [0, 1, 2];
            random.shuffle(&mut order);
            orders[order[0] * 9 + order[1] * 3 + order[2]] += 1;
        }
        // Of both there are 6; 5 degrees of freedom: 20.5.
        for seen in [&pairs[..], &orders[..]] {
            let seen: Vec<u64> = seen.iter().copied().filter(|&n| n > 0).collect();
            assert_eq!(seen.len(), 6);
            assert!(chi_square(&seen, [1.0 / 6.0; 6].into_iter()) < 20.5, "{seen:?}");
        }
        assert_eq!(random.choose(9, 3), [0, 1, 2]);
    }
}
