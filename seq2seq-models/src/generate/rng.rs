//! Random numbers that need no state: each is a function of what it is drawn for.
//!
//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"). The key is the
//! seed; the counter names the row, the sequence and the step. So a row draws the same numbers alone and in any batch.

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The 128 random bits of `counter` under `key`.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let [p0, p1] = [0, 1].map(|i| u64::from(MULTIPLIERS[i]) * u64::from(counter[2 * i]));
        let [hi, lo] = [|p: u64| (p >> 32) as u32, |p: u64| p as u32];
        counter = [hi(p1) ^ counter[1] ^ key[0], lo(p1), hi(p0) ^ counter[3] ^ key[1], lo(p0)];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// The number in [0, 1) that chooses id `step` of return sequence `sequence` of input `row`.
pub(super) fn uniform(seed: u64, row: u64, sequence: u32, step: u32) -> f32 {
    let [low, high] = halves(row);
    let bits = philox([step, sequence, low, high], halves(seed))[0];
    // 24 bits: every value is exact in f32, and none rounds up to 1.
    (bits >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// A seed that nobody chose.
pub(super) fn any_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with the algorithm (Random123, `kat_vectors`).
    #[test]
    fn agrees_with_the_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn lies_in_the_unit_interval_evenly() {
        let mut bins = [0u32; 16];
        for step in 0..16_000 {
            let u = uniform(7, 3, 0, step);
            assert!((0.0..1.0).contains(&u));
            bins[(u * 16.0) as usize] += 1;
        }
        let chi: f64 = bins.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi < 37.7, "chi-square {chi} at 15 degrees of freedom, 0.1% lies above 37.7");
    }

    #[test]
    fn every_coordinate_matters() {
        let base = uniform(1, 2, 3, 4);
        for other in
            [uniform(2, 2, 3, 4), uniform(1, 3, 3, 4), uniform(1, 2, 4, 4), uniform(1, 2, 3, 5)]
        {
            assert_ne!(base, other);
        }
        assert_ne!(uniform(1, 0, 0, 0), uniform(1 | 1 << 32, 0, 0, 0));
        assert_ne!(uniform(1, 1, 0, 0), uniform(1, 1 | 1 << 32, 0, 0));
    }
}
