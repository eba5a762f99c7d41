//! Span corruption: Raffel et al. 2020, "Exploring the limits of transfer learning with a unified text-to-text
//! transformer", sections 3.1.4 and 3.3.4.

use super::{Denoised, Draws, NoiseTokens, body, check_ratio, share};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Spans become sentinels, and the target is what stood in their place:
/// "Thank you ⟨X⟩ me to your party ⟨Y⟩ week" is to become "⟨X⟩ for inviting ⟨Y⟩ last ⟨Z⟩".
///
/// Of n tokens, n · ratio are in n · ratio / `mean_length` spans, both rounded and at least 1. Spans and what is between
/// them have random lengths of at least 1, all ways to divide them being as likely; the text begins with a token that
/// stays and ends with a span. A text of one token stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpanCorruption {
    /// The share of tokens that are in spans: 0.15.
    pub ratio: f64,
    /// The mean length of spans: 3.
    pub mean_length: f64,
    /// Whether one more sentinel ends the target, as in the paper's examples. Those of its published code have none.
    pub final_sentinel: bool,
}

impl Default for SpanCorruption {
    fn default() -> Self {
        Self { ratio: 0.15, mean_length: 3.0, final_sentinel: true }
    }
}

impl SpanCorruption {
    /// Looks the numbers over.
    ///
    /// # Errors
    /// Where one is out of range.
    pub fn check(&self) -> Result<()> {
        check_ratio("span corruption", self.ratio)?;
        match self.mean_length >= 1.0 {
            true => Ok(()),
            false => Err(Error::Input(format!(
                "span corruption: the mean length is {}; it must be at least 1",
                self.mean_length
            ))),
        }
    }

    /// The ids with sentinels for spans, and the spans behind their sentinels. The special tokens at the end of `ids`
    /// end both; those at the beginning are left to the source.
    ///
    /// # Errors
    /// Where a number is out of range, or there are fewer sentinels than needed.
    pub fn apply(&self, ids: &[u32], tokens: &NoiseTokens, draws: &mut Draws) -> Result<Denoised> {
        self.check()?;
        let range = body(ids, tokens);
        let (before, behind) = (&ids[..range.start], &ids[range.end..]);
        let mut text = &ids[range];
        let lengths = self.lengths(text.len(), draws);
        let sentinels = lengths.len() + usize::from(self.final_sentinel);
        let Some(sentinels) = tokens.sentinels.get(..sentinels) else {
            return Err(Error::Input(format!(
                "{} tokens are corrupted in {} spans, which needs {sentinels} sentinels, and the tokenizer has {} \
                 (<extra_id_0> and so on); train on shorter texts, or with a tokenizer that has more",
                text.len(),
                lengths.len(),
                tokens.sentinels.len()
            )));
        };
        let (mut source, mut target) = (before.to_vec(), Vec::new());
        for (&(stay, span), &sentinel) in lengths.iter().zip(sentinels) {
            source.extend_from_slice(&text[..stay]);
            source.push(sentinel);
            target.push(sentinel);
            target.extend_from_slice(&text[stay..stay + span]);
            text = &text[stay + span..];
        }
        source.extend_from_slice(text);
        target.extend(sentinels.get(lengths.len()));
        source.extend_from_slice(behind);
        target.extend_from_slice(behind);
        Ok(Denoised { source, target })
    }

    /// How many tokens stay, and how many are in the span behind them, in turn.
    fn lengths(&self, n: usize, draws: &mut Draws) -> Vec<(usize, usize)> {
        if n < 2 {
            return Vec::new();
        }
        let corrupted = share(n, self.ratio).min(n - 1);
        let stay = n - corrupted;
        let spans = (corrupted as f64 / self.mean_length).round() as usize;
        let spans = spans.clamp(1, corrupted.min(stay));
        let corrupted = composition(corrupted, spans, draws);
        composition(stay, spans, draws).into_iter().zip(corrupted).collect()
    }
}

/// `parts` numbers of at least 1 that come to `total`, all such ones being as likely.
fn composition(total: usize, parts: usize, draws: &mut Draws) -> Vec<usize> {
    let cuts = draws.choose(parts - 1, total - 1).into_iter().map(|cut| cut + 1).chain([total]);
    cuts.scan(0, |before, cut| Some(cut - std::mem::replace(before, cut))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random::Purpose;

    fn tokens() -> NoiseTokens {
        NoiseTokens {
            sentinels: (500..600).rev().collect(),
            special: (0..3).chain(500..600).collect(),
            ..NoiseTokens::default()
        }
    }

    fn draws(row: u64) -> Draws {
        Draws::new(11, Purpose::Corruption, 0, row)
    }

    /// The text whose corruption this is.
    fn restored(denoised: &Denoised) -> Vec<u32> {
        let sentinel = |id: &u32| (500..600).contains(id);
        let end = denoised.target.len() - 1;
        let mut spans = denoised.target[..end].split(sentinel).skip(1);
        let mut ids = Vec::new();
        for id in &denoised.source {
            match sentinel(id) {
                true => ids.extend_from_slice(spans.next().unwrap()),
                false => ids.push(*id),
            }
        }
        ids
    }

    #[test]
    fn sentinels_restore_the_text() {
        for final_sentinel in [true, false] {
            let noise = SpanCorruption { final_sentinel, ..SpanCorruption::default() };
            for n in (0..40).chain([500]) {
                let ids: Vec<u32> = (1000..1000 + n).chain([1]).collect();
                let denoised = noise.apply(&ids, &tokens(), &mut draws(u64::from(n))).unwrap();
                assert_eq!(restored(&denoised), ids, "{denoised:?}");
                assert_eq!((denoised.source.last(), denoised.target.last()), (Some(&1), Some(&1)));
                let sentinels = |ids: &[u32]| -> Vec<u32> {
                    ids.iter().copied().filter(|id| (500..600).contains(id)).collect()
                };
                let (source, mut target) =
                    (sentinels(&denoised.source), sentinels(&denoised.target));
                if final_sentinel {
                    assert_eq!(target.pop(), tokens().sentinels.get(source.len()).copied());
                }
                assert_eq!(source, tokens().sentinels[..source.len()]);
                assert_eq!(source, target);
            }
        }
    }

    #[test]
    fn shares_and_lengths_are_those_of_the_paper() {
        for (n, corrupted, spans) in [(512, 77, 26), (100, 15, 5), (10, 2, 1), (2, 1, 1)] {
            let lengths = SpanCorruption::default().lengths(n, &mut draws(0));
            let sum = |part: fn(&(usize, usize)) -> usize| lengths.iter().map(part).sum::<usize>();
            assert_eq!(
                (lengths.len(), sum(|l| l.0), sum(|l| l.1)),
                (spans, n - corrupted, corrupted)
            );
            assert!(lengths.iter().all(|l| l.0 > 0 && l.1 > 0));
        }
        // More spans than tokens that could stand between them.
        let dense = SpanCorruption { ratio: 0.9, mean_length: 1.0, ..SpanCorruption::default() };
        assert_eq!(dense.lengths(10, &mut draws(0)).len(), 1);
        assert!(SpanCorruption::default().lengths(1, &mut draws(0)).is_empty());
    }

    #[test]
    fn all_divisions_are_as_likely() {
        let mut seen = std::collections::BTreeMap::<Vec<usize>, u32>::new();
        let mut draws = draws(1);
        for _ in 0..6000 {
            *seen.entry(composition(5, 3, &mut draws)).or_default() += 1;
        }
        // 4 over 2 of them; five standard deviations are 144.
        assert!(seen.len() == 6 && seen.values().all(|n| n.abs_diff(1000) < 144), "{seen:?}");
        assert!(seen.keys().all(|parts| parts.iter().sum::<usize>() == 5 && !parts.contains(&0)));
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let few = NoiseTokens { sentinels: vec![500; 3], ..tokens() };
        let ids: Vec<u32> = (1000..1100).collect();
        let noise = SpanCorruption::default();
        let error = noise.apply(&ids, &few, &mut draws(0)).unwrap_err().to_string();
        assert!(error.contains("5 spans") && error.contains("6 sentinels"), "{error}");
        for wrong in [
            SpanCorruption { ratio: 0.0, ..noise },
            SpanCorruption { mean_length: 0.5, ..noise },
            SpanCorruption { mean_length: f64::NAN, ..noise },
        ] {
            assert!(wrong.apply(&ids, &tokens(), &mut draws(0)).is_err());
        }
    }
}
