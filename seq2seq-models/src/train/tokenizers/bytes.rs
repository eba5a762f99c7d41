//! Bytes as tokens: a byte-level vocabulary without merges.

use super::{Parts, SPECIAL, TokenizerOptions, failed};
use crate::{Error, Result, tokenizer::token_bytes::byte_of};
use tokenizers::{models::bpe::BPE, pre_tokenizers::byte_level::ByteLevel};

pub(super) fn parts(options: &TokenizerOptions) -> Result<Parts> {
    let size = SPECIAL.len() + 256 + options.appended().len();
    if let Some(asked) = options.vocab_size.filter(|&asked| asked != size) {
        return Err(Error::Input(format!(
            "a vocabulary of {asked} is asked for, and one of bytes has {size} tokens; leave the size away"
        )));
    }
    // tokenizer.json names bytes by GPT-2's characters for them.
    let mut characters = ['\0'; 256];
    for c in ByteLevel::alphabet() {
        if let Some(byte) = byte_of(c) {
            characters[usize::from(byte)] = c;
        }
    }
    let vocabulary: [(String, u32); SPECIAL.len() + 256] = std::array::from_fn(|id| {
        let byte = |at: usize| characters[at - SPECIAL.len()].to_string();
        (SPECIAL.get(id).map_or_else(|| byte(id), |token| (*token).into()), id as u32)
    });
    let model = BPE::builder().vocab_and_merges(vocabulary, Vec::new()).build().map_err(failed)?;
    // Whole texts, since nothing is merged.
    let level = ByteLevel::new(false, false, false);
    Ok(Parts { model: model.into(), pre_tokenizer: level.into(), decoder: level.into() })
}
