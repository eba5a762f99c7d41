//! Random numbers that need no state: each is a function of what it is drawn for.
//!
//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The 128 random bits of `counter` under `key`.
///
/// ```
/// use seq2seq_core::noise::philox;
///
/// // A function: there is no state that threads would have to share, and any number can be had again.
/// let bits = philox([7, 0, 0, 0], 42);
/// assert_eq!(bits, philox([7, 0, 0, 0], 42));
/// assert_ne!(bits, philox([8, 0, 0, 0], 42));
/// assert_ne!(bits, philox([7, 0, 0, 0], 43));
/// ```
pub fn philox(counter: [u32; 4], key: u64) -> [u32; 4] {
    philox_side_by_side(counter.map(|word| [word]), key).map(|[word]| word)
}

/// Of `N` counters at once, word by word: loops that the compiler turns into vectors, where its caller has them.
#[inline(always)]
pub(crate) fn philox_side_by_side<const N: usize>(
    mut counters: [[u32; N]; 4],
    key: u64,
) -> [[u32; N]; 4] {
    let mut key = [key as u32, (key >> 32) as u32];
    for _ in 0..ROUNDS {
        let mut next = [[0; N]; 4];
        for i in 0..N {
            let p0 = u64::from(MULTIPLIERS[0]) * u64::from(counters[0][i]);
            let p1 = u64::from(MULTIPLIERS[1]) * u64::from(counters[2][i]);
            next[0][i] = (p1 >> 32) as u32 ^ counters[1][i] ^ key[0];
            next[1][i] = p1 as u32;
            next[2][i] = (p0 >> 32) as u32 ^ counters[3][i] ^ key[1];
            next[3][i] = p0 as u32;
        }
        counters = next;
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counters
}

/// The number of the standard Gumbel distribution, -ln(-ln u), that `seed` has for `id`.
///
/// The k largest of score + Gumbel number are k draws without replacement with probabilities in proportion to e^score,
/// in the order in which they are drawn (Vieira 2014, "Gumbel-max trick and weighted reservoir sampling"; Kool, van Hoof
/// and Welling 2019, "Stochastic Beams and Where to Find Them", section 2.3).
///
/// ```
/// use seq2seq_core::noise::gumbel;
///
/// // Drawing an id with probabilities of 0.1, 0.2 and 0.7: of the noisy scores the largest.
/// let draw = |seed: u64| {
///     let noisy = [0.1f64, 0.2, 0.7].map(f64::ln).into_iter().zip(0u32..).map(|(score, id)| (score + gumbel(seed, id), id));
///     noisy.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, id)| id)
/// };
/// let last = (0..2000).filter(|&seed| draw(seed) == Some(2)).count();
/// assert!((1340..1460).contains(&last), "{last} of 2000");
/// ```
pub fn gumbel(seed: u64, id: u32) -> f64 {
    let [high, low, ..] = philox([id, 0, 0, 0], seed);
    -(-uniform(high, low).ln()).ln()
}

/// A number between 0 and 1, and neither of them: 52 bits and a half, exact.
fn uniform(high: u32, low: u32) -> f64 {
    let bits = (u64::from(high) << 32 | u64::from(low)) >> 12;
    (bits as f64 + 0.5) / (1u64 << 52) as f64
}

/// The number of the standard normal distribution that `seed` has for a row and a column (Box and Muller 1958, "A note on
/// the generation of random normal deviates").
///
/// ```
/// use seq2seq_core::noise::normal;
///
/// let draws: Vec<f64> = (0..4000).map(|column| normal(1, 0, column)).collect();
/// let (mean, square) = (draws.iter().sum::<f64>() / 4000.0, draws.iter().map(|x| x * x).sum::<f64>() / 4000.0);
/// assert!(mean.abs() < 0.07 && (square - 1.0).abs() < 0.1, "{mean} {square}");
/// ```
pub fn normal(seed: u64, row: u64, column: u32) -> f64 {
    let [a, b, c, d] = philox([column, row as u32, (row >> 32) as u32, 0], seed);
    (-2.0 * uniform(a, b).ln()).sqrt() * (std::f64::consts::TAU * uniform(c, d)).cos()
}

/// The [`normal`] numbers of the first `columns` columns of a row, in f32.
///
/// ```
/// use seq2seq_core::noise::{normal, normal_row};
///
/// // A point of 16 dimensions for each of three rows, as those of the prior of a latent model.
/// let points: Vec<Vec<f32>> = (0..3).map(|row| normal_row(7, row, 16).collect()).collect();
/// assert_eq!(points[2][5], normal(7, 2, 5) as f32);
/// ```
pub fn normal_row(seed: u64, row: u64, columns: usize) -> impl Iterator<Item = f32> {
    (0..columns).map(move |column| normal(seed, row, column as u32) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean, variance, and the share within one deviation, each within four deviations of what it should be; neighbours in
    /// any direction are not correlated.
    #[test]
    fn normal_numbers_have_their_distribution() {
        const N: u32 = 20_000;
        for (place, seed) in [(0, 7), (1, 7), (2, 0)] {
            let number = |i: u32| match place {
                0 => normal(seed, 3, i),
                1 => normal(seed, u64::from(i) << 20, 5),
                _ => normal(u64::from(i), 3, 5),
            };
            let numbers: Vec<f64> = (0..N).map(number).collect();
            let n = f64::from(N);
            let mean = numbers.iter().sum::<f64>() / n;
            let variance = numbers.iter().map(|x| x * x).sum::<f64>() / n;
            let within = numbers.iter().filter(|x| x.abs() < 1.0).count() as f64 / n;
            let pairs: f64 = numbers.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n;
            assert!(mean.abs() < 4.0 / n.sqrt(), "mean {mean}");
            assert!((variance - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "variance {variance}");
            let share = 0.682_689_492;
            let off = 4.0 * (share * (1.0 - share) / n).sqrt();
            assert!((within - share).abs() < off, "{within} within one deviation");
            assert!(pairs.abs() < 4.0 / n.sqrt(), "correlation {pairs}");
        }
    }

    /// The known answers published with the algorithm (Random123, `kat_vectors`).
    #[test]
    fn agrees_with_the_known_answers() {
        assert_eq!(philox([0; 4], 0), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], u64::MAX),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], 0x299f31d0_a4093822),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    /// e^-e^-g is uniform where g is a Gumbel number.
    #[test]
    fn gumbel_numbers_have_their_distribution() {
        for by_seed in [false, true] {
            let mut bins = [0u32; 16];
            for i in 0..16_000u32 {
                let g = if by_seed { gumbel(u64::from(i) << 20, 3) } else { gumbel(7, i) };
                bins[((-(-g).exp()).exp() * 16.0) as usize] += 1;
            }
            let chi: f64 = bins.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
            assert!(chi < 37.7, "chi-square {chi} at 15 degrees of freedom, 0.1% lies above 37.7");
        }
    }
}
