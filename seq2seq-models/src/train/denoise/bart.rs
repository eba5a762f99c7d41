//! The corruptions of BART: Lewis et al. 2020, "BART: denoising sequence-to-sequence pre-training for natural language
//! generation, translation, and comprehension", section 2.2. Any of them may follow one another; the published models
//! saw permuted sentences and then infilling of 30% (section 5.1).

use super::{Denoised, Draws, NoiseTokens, body, check_ratio, share};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// One corruption.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Noise {
    /// Random tokens become the mask.
    TokenMasking {
        /// The share of tokens.
        #[serde(default = "bert_ratio")]
        ratio: f64,
    },
    /// Random tokens vanish; the model has to find where.
    TokenDeletion {
        /// The share of tokens.
        #[serde(default = "bert_ratio")]
        ratio: f64,
    },
    /// Random spans become one mask each; the model has to find how long they were. Lengths are of a Poisson
    /// distribution; a span of length 0 is a mask that is put in.
    TextInfilling {
        /// The share of tokens that are in spans.
        #[serde(default = "infilling_ratio")]
        ratio: f64,
        /// The mean length of spans.
        #[serde(default = "infilling_lambda")]
        lambda: f64,
    },
    /// Sentences, which end in tokens such as a full stop, come in random order.
    SentencePermutation {},
}

/// The paper masks "following BERT".
fn bert_ratio() -> f64 {
    0.15
}

fn infilling_ratio() -> f64 {
    0.3
}

fn infilling_lambda() -> f64 {
    3.0
}

impl Noise {
    /// What BART was trained with.
    pub fn bart() -> [Self; 2] {
        let infilling =
            Self::TextInfilling { ratio: infilling_ratio(), lambda: infilling_lambda() };
        [Self::SentencePermutation {}, infilling]
    }

    /// Looks the numbers over.
    ///
    /// # Errors
    /// Where one is out of range.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::TokenMasking { ratio } => check_ratio("token masking", ratio),
            Self::TokenDeletion { ratio } => check_ratio("token deletion", ratio),
            Self::TextInfilling { ratio, lambda } => {
                check_ratio("text infilling", ratio)?;
                match (0.1..=100.0).contains(&lambda) {
                    true => Ok(()),
                    false => Err(Error::Input(format!(
                        "text infilling: lambda is {lambda}; it must be from 0.1 to 100"
                    ))),
                }
            }
            Self::SentencePermutation {} => Ok(()),
        }
    }

    fn apply(&self, ids: &[u32], tokens: &NoiseTokens, draws: &mut Draws) -> Result<Vec<u32>> {
        self.check()?;
        Ok(match *self {
            Self::TokenMasking { ratio } => {
                let mask = tokens.need_mask()?;
                let mut ids = ids.to_vec();
                for i in draws.choose(share(ids.len(), ratio), ids.len()) {
                    ids[i] = mask;
                }
                ids
            }
            Self::TokenDeletion { ratio } => {
                let kept = ids.len() - share(ids.len(), ratio);
                draws.choose(kept, ids.len()).into_iter().map(|i| ids[i]).collect()
            }
            Self::TextInfilling { ratio, lambda } => {
                let spans = poisson_lengths(share(ids.len(), ratio), lambda, draws);
                infill(ids, &spans, tokens.need_mask()?, draws)
            }
            Self::SentencePermutation {} => {
                let mut sentences: Vec<&[u32]> =
                    ids.split_inclusive(|id| tokens.sentence_ends.contains(id)).collect();
                draws.shuffle(&mut sentences);
                sentences.concat()
            }
        })
    }
}

/// Corrupts `ids` by one noise after the other; they themselves are the target.
///
/// # Errors
/// Where a noise is out of range or needs a mask that the tokenizer has not.
pub fn corrupt(
    ids: &[u32],
    noises: &[Noise],
    tokens: &NoiseTokens,
    draws: &mut Draws,
) -> Result<Denoised> {
    let range = body(ids, tokens);
    let (before, behind) = (&ids[..range.start], &ids[range.end..]);
    let mut noised = ids[range].to_vec();
    for noise in noises {
        noised = noise.apply(&noised, tokens, draws)?;
    }
    Ok(Denoised { source: [before, &noised, behind].concat(), target: ids.to_vec() })
}

/// Lengths that come to `total`; the last one is cut short.
fn poisson_lengths(total: usize, lambda: f64, draws: &mut Draws) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut left = total;
    while left > 0 {
        let length = draws.poisson(lambda).min(left);
        lengths.push(length);
        left -= length;
    }
    lengths
}

/// Puts a mask for each span. Every span stands before a token that stays, or at the end, all of these places being as
/// likely; where several come to stand in one place, each has its mask.
fn infill(ids: &[u32], spans: &[usize], mask: u32, draws: &mut Draws) -> Vec<u32> {
    let stay = ids.len() - spans.iter().sum::<usize>();
    let mut placed: Vec<(usize, usize)> =
        spans.iter().map(|&length| (draws.index(stay + 1), length)).collect();
    placed.sort_by_key(|&(place, _)| place);
    let mut infilled = Vec::with_capacity(stay + spans.len());
    let (mut kept, mut gone) = (0, 0);
    for (place, length) in placed {
        infilled.extend_from_slice(&ids[kept + gone..place + gone]);
        infilled.push(mask);
        (kept, gone) = (place, gone + length);
    }
    infilled.extend_from_slice(&ids[kept + gone..]);
    infilled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random::Purpose;

    const MASK: u32 = 4;

    /// 0 to 9 are special; a sentence ends in a multiple of ten.
    fn tokens() -> NoiseTokens {
        NoiseTokens {
            mask: Some(MASK),
            special: (0..10).collect(),
            sentence_ends: (10..20).map(|n| n * 10).collect(),
            ..NoiseTokens::default()
        }
    }

    /// `n` different tokens between a first and a last special one.
    fn ids(n: u32) -> Vec<u32> {
        std::iter::once(0).chain(1001..=1000 + n).chain([1]).collect()
    }

    fn corrupted(ids: &[u32], noise: Noise, row: u64) -> Vec<u32> {
        let mut draws = Draws::new(1, Purpose::Corruption, 0, row);
        let Denoised { source, target } = corrupt(ids, &[noise], &tokens(), &mut draws).unwrap();
        assert_eq!(target, ids);
        assert_eq!((source.first(), source.last()), (Some(&0), Some(&1)));
        source
    }

    /// Those that are no mask, which must be in order.
    fn kept(source: &[u32]) -> Vec<u32> {
        let kept: Vec<u32> =
            source[1..source.len() - 1].iter().copied().filter(|&id| id != MASK).collect();
        assert!(kept.is_sorted_by(|a, b| a < b), "{kept:?}");
        kept
    }

    #[test]
    fn masking_changes_as_many_as_said_and_no_place() {
        for (n, expected) in [(100, 15), (10, 2), (3, 1), (1, 1), (0, 0)] {
            let ids = ids(n);
            let source = corrupted(&ids, Noise::TokenMasking { ratio: 0.15 }, 0);
            let masked = source.iter().filter(|&&id| id == MASK).count();
            assert_eq!((source.len(), masked), (ids.len(), expected));
            assert!(source.iter().zip(&ids).all(|(a, b)| a == b || *a == MASK));
        }
    }

    #[test]
    fn deletion_keeps_the_order_of_what_stays() {
        for (n, expected) in [(100, 85), (10, 8), (1, 0), (0, 0)] {
            let source = corrupted(&ids(n), Noise::TokenDeletion { ratio: 0.15 }, 0);
            assert_eq!(kept(&source).len(), expected);
            assert!(!source.contains(&MASK));
        }
    }

    #[test]
    fn infilling_puts_one_mask_for_a_span() {
        let noise = Noise::TextInfilling { ratio: 0.3, lambda: 3.0 };
        let (mut masks, mut ends) = (0, 0);
        for row in 0..200 {
            let source = corrupted(&ids(1000), noise, row);
            assert_eq!(kept(&source).len(), 700);
            masks += source.iter().filter(|&&id| id == MASK).count();
            ends += usize::from(source[source.len() - 2] == MASK);
        }
        // The last span would go λ/2 tokens beyond the 300 on average (renewal theory), so that there are 301.5 / 3. The
        // standard deviation of the mean is √(300 / 9 / 200): 0.41.
        let mean = masks as f64 / 200.0;
        assert!((mean - 100.5).abs() < 1.7, "{mean}");
        // Any of 701 places is as likely: some 14% of rows end in a mask.
        assert!((10..50).contains(&ends), "{ends}");
        assert_eq!(kept(&corrupted(&ids(1), noise, 0)).len(), 0);
        assert_eq!(corrupted(&ids(0), noise, 0), [0, 1]);
        let all = corrupted(&ids(9), Noise::TextInfilling { ratio: 1.0, lambda: 0.5 }, 3);
        assert!(kept(&all).is_empty() && all.len() > 3);
    }

    #[test]
    fn infilling_restores_from_the_lengths() {
        let ids: Vec<u32> = (1001..1051).collect();
        for row in 0..50 {
            let mut draws = Draws::new(2, Purpose::Corruption, 0, row);
            let spans = poisson_lengths(20, 3.0, &mut draws);
            assert_eq!(spans.iter().sum::<usize>(), 20);
            let infilled = infill(&ids, &spans, MASK, &mut draws);
            assert_eq!(infilled.len(), 30 + spans.len());
            // What is between two tokens that stay is as long as the spans there.
            let runs = infilled.split(|&id| id != MASK).map(<[u32]>::len);
            assert_eq!(runs.sum::<usize>(), spans.len());
        }
    }

    #[test]
    fn sentences_stay_whole() {
        let ids = [0, 11, 12, 110, 13, 120, 14, 15, 16, 1];
        let noise = Noise::SentencePermutation {};
        let mut orders = std::collections::BTreeMap::<Vec<u32>, u32>::new();
        for row in 0..600 {
            let source = corrupted(&ids, noise, row);
            let mut sentences = [&[11, 12, 110][..], &[13, 120], &[14, 15, 16]];
            sentences.sort_by_key(|s| source.iter().position(|id| id == &s[0]));
            assert_eq!(source[1..9], sentences.concat());
            *orders.entry(source).or_default() += 1;
        }
        assert!(orders.len() == 6 && orders.values().all(|&n| n > 60), "{orders:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_corruption() {
        for noise in Noise::bart().into_iter().chain([Noise::TokenDeletion { ratio: 0.5 }]) {
            let ids: Vec<u32> = (10..200).collect();
            let of = |row| {
                let mut draws = Draws::new(7, Purpose::Corruption, 3, row);
                corrupt(&ids, &[noise], &tokens(), &mut draws).unwrap()
            };
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2));
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let mut draws = Draws::new(0, Purpose::Corruption, 0, 0);
        for noise in [
            Noise::TokenMasking { ratio: 0.0 },
            Noise::TokenDeletion { ratio: 1.5 },
            Noise::TextInfilling { ratio: f64::NAN, lambda: 3.0 },
            Noise::TextInfilling { ratio: 0.3, lambda: 0.0 },
        ] {
            assert!(corrupt(&ids(5), &[noise], &tokens(), &mut draws).is_err(), "{noise:?}");
        }
        let noise = Noise::TokenMasking { ratio: 0.5 };
        let error = corrupt(&ids(5), &[noise], &NoiseTokens::default(), &mut draws).unwrap_err();
        assert!(error.to_string().contains("mask token"), "{error}");
        let written = r#"{"kind": "text_infilling"}"#;
        assert_eq!(serde_json::from_str::<Noise>(written).unwrap(), Noise::bart()[1]);
    }
}
