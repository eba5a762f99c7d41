//! When a sequence ends: EOS, its length, a stop string.

use std::{cell::RefCell, collections::HashMap};

/// The bytes that a token adds to the text before it, as when it stands in the middle of a sentence.
///
/// ```
/// use seq2seq_models::{Tokenizer, generate::TokenBytes};
///
/// # let folder = "../fixtures/gpt2_text";
/// let tokenizer = Tokenizer::from_folder(folder)?;
/// let bytes = |id| tokenizer.token_bytes(id);
/// let spelt: &TokenBytes<'_> = &bytes;
/// let all: Vec<u8> = tokenizer.encode("a sät cat")?.ids().iter().flat_map(|&id| spelt(id)).collect();
/// assert_eq!(all, "a sät cat".as_bytes()); // no token alone need be whole characters
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
pub type TokenBytes<'a> = dyn Fn(u32) -> Vec<u8> + Sync + 'a;

/// The end conditions of one generation. The length is checked by whoever knows the row's limit.
pub(super) struct Stop<'a> {
    eos: Vec<u32>,
    strings: Option<StopStrings<'a>>,
}

impl<'a> Stop<'a> {
    pub(super) fn new(eos: Vec<u32>, strings: Option<StopStrings<'a>>) -> Self {
        Self { eos, strings }
    }

    /// The ids that end a sequence.
    pub(super) fn ids(&self) -> &[u32] {
        &self.eos
    }

    /// Whether it is one of those ids that ends a sequence, or its length, and no text.
    pub(super) fn reads_ids_alone(&self) -> bool {
        self.strings.is_none()
    }

    /// Whether `token` after `history` ends a sequence of at most `max_length` ids.
    pub(super) fn ends(&self, history: &[u32], token: u32, max_length: usize) -> bool {
        history.len() + 1 >= max_length
            || self.eos.contains(&token)
            || self.strings.as_ref().is_some_and(|s| s.end_in(history, token))
    }
}

/// Strings that end a sequence, as transformers' `StopStringCriteria`: one must end within the text of the last token,
/// and may begin anywhere before, the prompt included.
pub(super) struct StopStrings<'a> {
    strings: Vec<Vec<u8>>,
    longest: usize,
    bytes_of: &'a TokenBytes<'a>,
    known: RefCell<HashMap<u32, Vec<u8>>>,
}

impl<'a> StopStrings<'a> {
    /// `strings` are not empty.
    pub(super) fn new(strings: &[String], bytes_of: &'a TokenBytes<'a>) -> Self {
        let strings: Vec<_> = strings.iter().map(|s| s.clone().into_bytes()).collect();
        let longest = strings.iter().map(Vec::len).max().unwrap_or(0);
        Self { strings, longest, bytes_of, known: RefCell::default() }
    }

    fn end_in(&self, history: &[u32], token: u32) -> bool {
        let mut known = self.known.borrow_mut();
        let mut bytes = |id| known.entry(id).or_insert_with(|| (self.bytes_of)(id)).clone();
        let last = bytes(token);
        let wanted = last.len() + self.longest - 1;
        let mut pieces = vec![last];
        let mut held = pieces[0].len();
        for &id in history.iter().rev() {
            if held >= wanted {
                break;
            }
            let piece = bytes(id);
            held += piece.len();
            pieces.push(piece);
        }
        let text: Vec<u8> = pieces.iter().rev().flatten().copied().collect();
        let before = text.len() - pieces[0].len();
        self.strings.iter().any(|s| {
            // A match that begins here or later ends in the last token.
            let first = (before + 1).saturating_sub(s.len());
            text[first..].windows(s.len()).any(|w| w == s)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: [&str; 13] =
        ["st", "op", "stop", "opera", "sto", "pper", "las", "topper", "s", "to", "pped", "at", ""];

    fn ends(words: &[&str]) -> bool {
        let ids: Vec<u32> =
            words.iter().map(|w| TOKENS.iter().position(|t| t == w).unwrap() as u32).collect();
        let text = |id: u32| TOKENS[id as usize].as_bytes().to_vec();
        let (&last, history) = ids.split_last().unwrap();
        let strings = ["stop".to_string(), "zz".to_string()];
        Stop::new(vec![], Some(StopStrings::new(&strings, &text))).ends(history, last, 100)
    }

    /// The examples in the documentation of transformers' `StopStringCriteria`.
    #[test]
    fn stop_strings_end_within_the_last_token() {
        for yes in [
            &["st", "op"][..],
            &["stop"],
            &["st", "opera"],
            &["sto", "pper"],
            &["las", "topper"],
            &["s", "to", "pped"],
            &["st", "", "op"],
        ] {
            assert!(ends(yes), "{yes:?}");
        }
        for no in [
            &["stop", "at"][..],
            &["st", "op", "at"],
            &["st", "opera", "at"],
            &["op"],
            &["stop", ""],
        ] {
            assert!(!ends(no), "{no:?}");
        }
    }

    #[derive(serde::Deserialize)]
    struct Case {
        tokenizer: String,
        strings: Vec<String>,
        ids: Vec<u32>,
        ends: bool,
    }

    /// The same answers as `StopStringCriteria`, for WordPiece, byte-level, byte-fallback and unigram tokenizers.
    #[test]
    fn agrees_with_transformers() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let json = std::fs::read(root.join("tests/suite/generate/stop_strings.json")).unwrap();
        let cases: Vec<Case> = serde_json::from_slice(&json).unwrap();
        for cases in cases.chunk_by(|a, b| a.tokenizer == b.tokenizer) {
            let folder = root.join("../fixtures").join(&cases[0].tokenizer);
            let tokenizer = crate::Tokenizer::from_folder(&folder).unwrap();
            let text = |id| tokenizer.token_bytes(id);
            for Case { tokenizer, strings, ids, ends } in cases {
                let (&last, history) = ids.split_last().unwrap();
                let stop = Stop::new(vec![], Some(StopStrings::new(strings, &text)));
                let found = stop.ends(history, last, usize::MAX);
                assert_eq!(found, *ends, "{tokenizer}: {strings:?} in {ids:?}");
            }
        }
    }

    #[test]
    fn eos_and_length_end() {
        let stop = Stop::new(vec![1, 5], None);
        assert!(stop.ends(&[0], 5, 10) && stop.ends(&[0], 1, 10) && !stop.ends(&[0], 2, 10));
        assert!(stop.ends(&[0, 3], 2, 3) && !stop.ends(&[0, 3], 2, 4));
    }
}
