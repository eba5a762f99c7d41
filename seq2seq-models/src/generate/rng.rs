//! The random numbers of a generation, each a function of what it is drawn for: a row draws the same numbers alone and in
//! any batch.

use seq2seq_core::noise::philox;

/// 128 bits of a place in a generation: step `step` of return sequence or beam `sequence` of input `row`.
fn bits(seed: u64, row: u64, sequence: u32, step: u32) -> [u32; 4] {
    philox([step, sequence, row as u32, (row >> 32) as u32], seed)
}

/// The number in [0, 1) that chooses id `step` of return sequence `sequence` of input `row`.
pub(super) fn uniform(seed: u64, row: u64, sequence: u32, step: u32) -> f32 {
    // 24 bits: every value is exact in f32, and none rounds up to 1.
    (bits(seed, row, sequence, step)[0] >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// The seed of the noise on the scores from which beam `beam` of input `row` goes on at `step`.
pub(super) fn noise_seed(seed: u64, row: u64, beam: u32, step: u32) -> u64 {
    let [.., high, low] = bits(seed, row, beam, step);
    u64::from(high) << 32 | u64::from(low)
}

/// A seed that nobody chose.
///
/// ```
/// use seq2seq_models::{LoadOptions, Model, Prompt, generate::{GenerationConfig, any_seed}};
///
/// # let folder = "../fixtures/gpt2";
/// let model = Model::load(folder, &LoadOptions::default())?;
/// let seed = any_seed();
/// println!("seed {seed}"); // with it, what was drawn can be had again
/// let config = GenerationConfig { do_sample: Some(true), seed: Some(seed), ..GenerationConfig::default() };
/// let write = || model.generate(&[Prompt::new([4, 5, 6])], &config, &mut ());
/// assert_eq!(write()?, write()?);
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
pub fn any_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let of = |seed, row, sequence, step| {
            (uniform(seed, row, sequence, step), noise_seed(seed, row, sequence, step))
        };
        let base = of(1, 2, 3, 4);
        for other in [of(2, 2, 3, 4), of(1, 3, 3, 4), of(1, 2, 4, 4), of(1, 2, 3, 5)] {
            assert_ne!(base.0, other.0);
            assert_ne!(base.1, other.1);
        }
        assert_ne!(uniform(1, 0, 0, 0), uniform(1 | 1 << 32, 0, 0, 0));
        assert_ne!(uniform(1, 1, 0, 0), uniform(1, 1 | 1 << 32, 0, 0));
    }
}
