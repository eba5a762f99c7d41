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
