//! Masked language models: Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers for language
//! understanding", section 3.1 and appendix A.1.

use super::{Draws, NoiseTokens, check_ratio, share};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Some tokens are to be predicted. Of these, 80% become the mask, 10% another random token, and 10% stay, since the
/// mask never stands in the texts that the model is to read later.
///
/// The tokens change from epoch to epoch ("dynamic masking", Liu et al. 2019, RoBERTa).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedLm {
    /// The share of tokens that are to be predicted: 0.15.
    pub ratio: f64,
    /// Of these, the share that becomes the mask: 0.8.
    pub masked: f64,
    /// Of these, the share that becomes a random token: 0.1. The rest stays.
    pub random: f64,
}

impl Default for MaskedLm {
    fn default() -> Self {
        Self { ratio: 0.15, masked: 0.8, random: 0.1 }
    }
}

/// What a model reads and where it is to predict what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// The corrupted ids, as many as before.
    pub ids: Vec<u32>,
    /// The positions that are to be predicted, in order.
    pub positions: Vec<usize>,
    /// What stood there.
    pub labels: Vec<u32>,
}

impl MaskedLm {
    /// Looks the numbers over.
    ///
    /// # Errors
    /// Where one is out of range.
    pub fn check(&self) -> Result<()> {
        check_ratio("masked language model", self.ratio)?;
        let Self { masked, random, .. } = *self;
        // Sums such as 0.9 + 0.1 may be rounded up.
        match masked >= 0.0 && random >= 0.0 && masked + random <= 1.0 + 1e-9 {
            true => Ok(()),
            false => Err(Error::Input(format!(
                "masked language model: {masked} masked and {random} random tokens are no shares of a whole"
            ))),
        }
    }

    /// Corrupts `ids`; special tokens, wherever they stand, are not to be predicted.
    ///
    /// # Errors
    /// Where a number is out of range or the tokenizer has no mask.
    pub fn apply(&self, ids: &[u32], tokens: &NoiseTokens, draws: &mut Draws) -> Result<Masked> {
        self.check()?;
        let mask = tokens.need_mask()?;
        let open: Vec<usize> = (0..ids.len()).filter(|&i| !tokens.is_special(ids[i])).collect();
        let chosen = draws.choose(share(open.len(), self.ratio), open.len());
        let positions: Vec<usize> = chosen.into_iter().map(|i| open[i]).collect();
        let labels = positions.iter().map(|&i| ids[i]).collect();
        let mut ids = ids.to_vec();
        for &i in &positions {
            let kind = draws.unit();
            if kind < self.masked {
                ids[i] = mask;
            } else if kind < self.masked + self.random && !tokens.ordinary.is_empty() {
                ids[i] = tokens.ordinary[draws.index(tokens.ordinary.len())];
            }
        }
        Ok(Masked { ids, positions, labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random::Purpose;

    fn tokens() -> NoiseTokens {
        NoiseTokens {
            mask: Some(4),
            special: (0..10).collect(),
            ordinary: (10..1000).collect(),
            ..NoiseTokens::default()
        }
    }

    fn draws(row: u64) -> Draws {
        Draws::new(3, Purpose::Corruption, 0, row)
    }

    #[test]
    fn shares_are_those_of_the_paper() {
        let ids: Vec<u32> = [1].into_iter().chain(10..410).chain([2]).collect();
        let mut counts = [0usize; 3];
        for row in 0..200 {
            let masked = MaskedLm::default().apply(&ids, &tokens(), &mut draws(row)).unwrap();
            assert_eq!((masked.ids.len(), masked.positions.len()), (402, 60));
            assert!(masked.positions.is_sorted_by(|a, b| a < b));
            let chosen = |i: usize| masked.positions.binary_search(&i);
            for (i, (&now, &before)) in masked.ids.iter().zip(&ids).enumerate() {
                match chosen(i) {
                    Ok(at) => assert_eq!(masked.labels[at], before),
                    Err(_) => assert_eq!(now, before),
                }
            }
            for &i in &masked.positions {
                assert!((1..401).contains(&i) && (masked.ids[i] == 4 || masked.ids[i] >= 10));
                counts[if masked.ids[i] == 4 {
                    0
                } else {
                    1 + usize::from(masked.ids[i] == ids[i])
                }] += 1;
            }
        }
        // Of 12,000: standard deviations are 44 and 33. A random token is the same one in 990.
        for (count, expected) in counts.into_iter().zip([9600, 1199, 1201]) {
            assert!(count.abs_diff(expected) < 160, "{counts:?}");
        }
    }

    #[test]
    fn short_texts_have_something_to_predict() {
        let masked = MaskedLm::default().apply(&[1, 77, 2], &tokens(), &mut draws(0)).unwrap();
        assert_eq!((masked.positions, masked.labels), (vec![1], vec![77]));
        let none = MaskedLm::default().apply(&[1, 2], &tokens(), &mut draws(0)).unwrap();
        assert_eq!((none.ids, none.positions), (vec![1, 2], vec![]));
    }

    #[test]
    fn the_same_seed_gives_the_same_masks() {
        let ids: Vec<u32> = (10..200).collect();
        let of = |row| MaskedLm::default().apply(&ids, &tokens(), &mut draws(row)).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let usual = MaskedLm::default();
        assert!(MaskedLm { masked: 0.9, ..usual }.check().is_ok());
        for wrong in [
            MaskedLm { ratio: 2.0, ..usual },
            MaskedLm { masked: 0.95, ..usual },
            MaskedLm { random: -0.1, ..usual },
            MaskedLm { masked: f64::NAN, ..usual },
        ] {
            assert!(wrong.apply(&[10], &tokens(), &mut draws(0)).is_err(), "{wrong:?}");
        }
    }
}
