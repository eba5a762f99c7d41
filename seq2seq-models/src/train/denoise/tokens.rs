use crate::{Error, Result, Tokenizer};
use std::collections::BTreeSet;

/// The ids that corruptions put in, look for, or leave alone.
#[derive(Debug, Clone, Default)]
pub struct NoiseTokens {
    /// What stands for something masked.
    pub mask: Option<u32>,
    /// `<extra_id_0>`, `<extra_id_1>` and so on: what stands for the first span, the second, ...
    pub sentinels: Vec<u32>,
    /// The tokens that end a sentence.
    pub sentence_ends: BTreeSet<u32>,
    /// What is never corrupted.
    pub special: BTreeSet<u32>,
    /// What may stand in place of any token: all that are not special.
    pub ordinary: Vec<u32>,
}

impl NoiseTokens {
    /// Those of a tokenizer. A token ends a sentence when its text ends in `.`, `!`, `?`, `…`, or one of the full-width
    /// forms of Chinese and Japanese.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let ids = 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
        let (special, ordinary): (Vec<u32>, Vec<u32>) =
            ids.partition(|&id| tokenizer.is_special(id));
        let ends = |id: &u32| {
            let bytes = tokenizer.token_bytes(*id);
            let text = String::from_utf8_lossy(&bytes);
            text.trim_end().ends_with(['.', '!', '?', '…', '。', '！', '？'])
        };
        Self {
            mask: tokenizer.mask_token().and_then(|token| tokenizer.token_to_id(token)),
            sentinels: (0..)
                .map_while(|i| tokenizer.token_to_id(&format!("<extra_id_{i}>")))
                .collect(),
            sentence_ends: ordinary.iter().copied().filter(ends).collect(),
            special: special.into_iter().collect(),
            ordinary,
        }
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    pub(super) fn need_mask(&self) -> Result<u32> {
        self.mask.ok_or_else(|| {
            Error::input(
                "the tokenizer has no mask token, such as <mask> or [MASK], for what is corrupted",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::test_tokenizers::{byte_level, word_piece};

    #[test]
    fn tokens_are_found_by_their_text() {
        let tokens = NoiseTokens::of(&word_piece(false));
        assert_eq!((tokens.mask, tokens.sentinels.len()), (Some(4), 0));
        assert_eq!(tokens.special, (0..5).collect());
        assert_eq!(tokens.ordinary, (5..14).collect::<Vec<_>>());
        assert_eq!(tokens.sentence_ends, [9].into());
        let bytes = NoiseTokens::of(&byte_level());
        assert_eq!(bytes.sentence_ends, b".!?".map(u32::from).into());
        assert!(bytes.need_mask().is_err());
    }
}
