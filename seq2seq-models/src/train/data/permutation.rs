//! An order of rows that is computed, not stored.

use crate::train::random::{Draws, Purpose, key};
use seq2seq_core::noise::philox;

/// Six for each bit of a number of 15 bits, as its authors advise, and more than enough for fewer rows; a row costs about
/// two microseconds.
const ROUNDS: usize = 90;

/// A permutation of `0..n` in no memory: the row at any place of an epoch is known without those before it.
///
/// The swap-or-not shuffle (Hoang, Morris and Rogaway 2012, "An enciphering scheme based on a card shuffle"): in each
/// round a random number pairs x with pivot - x mod n, and a random bit, the same for both, says whether they swap.
#[derive(Debug, Clone)]
pub(super) struct Permutation {
    n: u64,
    pivots: Vec<u64>,
    key: u64,
}

impl Permutation {
    /// The order in which an epoch goes through `n` rows.
    pub(super) fn new(n: u64, seed: u64, epoch: u64) -> Self {
        // The bits are drawn for other counters of the same key: those of no row.
        let mut draws = Draws::new(seed, Purpose::Rows, epoch, u64::MAX);
        let pivots = (0..ROUNDS).map(|_| draws.below(n)).collect();
        Self { n, pivots, key: key(seed, Purpose::Rows, epoch) }
    }

    /// What stands at `place`, which is below n.
    pub(super) fn at(&self, place: u64) -> u64 {
        self.pivots.iter().zip(0..).fold(place, |x, (&pivot, round)| {
            let partner = if pivot >= x { pivot - x } else { pivot + (self.n - x) };
            let pair = x.max(partner);
            let [bits, ..] = philox([pair as u32, (pair >> 32) as u32, round, 0], self.key);
            if bits & 1 == 1 { partner } else { x }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_comes_once() {
        for n in [1, 2, 3, 4, 5, 16, 17, 64, 1000, 4097] {
            let order = Permutation::new(n, 3, 1);
            let mut seen: Vec<u64> = (0..n).map(|i| order.at(i)).collect();
            assert!(n < 64 || seen.iter().zip(0..).filter(|&(&a, b)| a == b).count() < 10);
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..n), "{n}");
        }
    }

    #[test]
    fn large_numbers_stay_in_range() {
        let n = (1 << 40) + 7;
        let order = Permutation::new(n, 0, 0);
        let seen: std::collections::BTreeSet<u64> =
            (0..1000).map(|i| order.at(n - 1 - i)).collect();
        assert!(seen.len() == 1000 && seen.iter().all(|&i| i < n));
    }

    #[test]
    fn all_orders_are_as_likely() {
        // With the 0.999 quantiles of chi square with n! - 1 degrees of freedom.
        for (n, orders, quantile) in [(2, 2, 10.8), (3, 6, 20.5), (4, 24, 49.7), (5, 120, 173.6)] {
            let mut counts = std::collections::BTreeMap::<Vec<u64>, f64>::new();
            let draws = 12_000;
            for seed in 0..draws {
                let order = Permutation::new(n, seed, 7);
                *counts.entry((0..n).map(|i| order.at(i)).collect()).or_default() += 1.0;
            }
            assert_eq!(counts.len(), orders);
            let expected = draws as f64 / orders as f64;
            let chi_square: f64 = counts.values().map(|n| (n - expected).powi(2) / expected).sum();
            assert!(chi_square < quantile, "{n}: {chi_square}");
        }
    }
}
