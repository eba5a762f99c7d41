//! Corruptions of token ids, from which a model learns to restore what was there.
//!
//! | objective | as in | gives |
//! |---|---|---|
//! | [`Noise`]: masked, deleted, infilled tokens, permuted sentences | BART (Lewis et al. 2020) | source and target |
//! | [`SpanCorruption`] | T5 (Raffel et al. 2020) | source and target |
//! | [`MaskedLm`] | BERT (Devlin et al. 2019) | ids, and labels at some positions |
//!
//! All of them take ids as the tokenizer gives them. Special tokens, such as the end of the sequence, are neither
//! corrupted nor counted, and stay where they are. What is drawn comes from [`Draws`], so that a row's corruption in an
//! epoch is a function of the seed.
//!
//! Of n tokens, n · ratio are corrupted, rounded, at least one.
//!
//! ```
//! use seq2seq_models::train::{
//!     denoise::{Denoised, Masked, MaskedLm, Noise, NoiseTokens, SpanCorruption, corrupt},
//!     random::{Draws, Purpose},
//!     tokenizers::{Kind, NewTokenizer, TokenizerOptions},
//! };
//!
//! let options = TokenizerOptions { extra_ids: 10, mask: true, ..TokenizerOptions::new(Kind::Bytes) };
//! let tokenizer = NewTokenizer::train(&options, None)?.tokenizer()?;
//! let tokens = NoiseTokens::of(&tokenizer); // its mask, sentinels, ends of sentences
//! let ids = tokenizer.encode("The cat sat. The dog ran.")?.ids().to_vec();
//! // What is drawn of a row in an epoch is always the same.
//! let draws = |epoch| Draws::new(1, Purpose::Corruption, epoch, 0);
//!
//! // T5: a sentinel for each span, which the target spells out.
//! let spans = SpanCorruption { ratio: 0.3, ..SpanCorruption::default() };
//! let Denoised { source, target } = spans.apply(&ids, &tokens, &mut draws(0))?;
//! println!("{} -> {}", tokenizer.decode(&source, false)?, tokenizer.decode(&target, false)?);
//! assert_eq!(source[source.len() - 1], ids[ids.len() - 1]); // the end of the text stays
//! assert_eq!(target[0], tokens.sentinels[0]);
//! assert_ne!(source, spans.apply(&ids, &tokens, &mut draws(1))?.source);
//!
//! // BART: the whole text is to be written.
//! let noise = [Noise::SentencePermutation {}, Noise::TokenDeletion { ratio: 0.2 }];
//! let Denoised { source, target } = corrupt(&ids, &noise, &tokens, &mut draws(0))?;
//! assert_eq!((source.len(), &target), (ids.len() - 5, &ids)); // of its 25 bytes
//!
//! // BERT: some positions are to be named.
//! let masked = MaskedLm { masked: 1.0, random: 0.0, ..MaskedLm::default() };
//! let Masked { ids: read, positions, labels } = masked.apply(&ids, &tokens, &mut draws(0))?;
//! assert!(positions.iter().zip(&labels).all(|(&at, &label)| Some(read[at]) == tokens.mask && label == ids[at]));
//! # Ok::<(), seq2seq_models::Error>(())
//! ```

mod bart;
mod masked_lm;
mod spans;
mod tokens;

pub use bart::{Noise, corrupt};
pub use masked_lm::{Masked, MaskedLm};
pub use spans::SpanCorruption;
pub use tokens::NoiseTokens;

use super::random::Draws;
use crate::{Error, Result};
use std::ops::Range;

/// What an encoder reads and what a decoder is to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denoised {
    /// The corrupted ids.
    pub source: Vec<u32>,
    /// What they are to become.
    pub target: Vec<u32>,
}

/// `ids` without the special tokens at their end, and then without those at their beginning.
fn body(ids: &[u32], tokens: &NoiseTokens) -> Range<usize> {
    let special = |id: &&u32| tokens.is_special(**id);
    let end = ids.len() - ids.iter().rev().take_while(special).count();
    ids[..end].iter().take_while(special).count()..end
}

/// How many of `n` tokens are corrupted.
fn share(n: usize, ratio: f64) -> usize {
    ((n as f64 * ratio).round() as usize).clamp(1.min(n), n)
}

fn check_ratio(what: &str, ratio: f64) -> Result<()> {
    match ratio > 0.0 && ratio <= 1.0 {
        true => Ok(()),
        false => Err(Error::Input(format!(
            "{what}: the ratio is {ratio}; it must be above 0 and at most 1"
        ))),
    }
}
