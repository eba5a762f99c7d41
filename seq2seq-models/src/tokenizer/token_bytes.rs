//! What one token adds to a text, for stop strings.

use super::rules::Rules;
use tokenizers::DecoderWrapper;

/// Text before the token, so that decoders do not take it for the first of all.
const BEFORE: &str = "abcdef";

/// How tokens stand for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// Each character of a token is a byte (GPT-2).
    Level,
    /// A token such as `<0xE2>` is a byte (sentencepiece).
    Fallback,
}

/// The bytes that a token adds to the text before it by the rules of `tokenizer`.
pub(super) fn of(tokenizer: &tokenizers::Tokenizer, token: String) -> Vec<u8> {
    let bytes = match tokenizer.get_decoder().and_then(byte_tokens) {
        Some(Bytes::Level) => token.chars().map(byte_of).collect(),
        Some(Bytes::Fallback) => named_byte(&token).map(|b| vec![b]),
        None => None,
    };
    bytes.unwrap_or_else(|| text_after_others(tokenizer, token).into_bytes())
}

/// The text of `token` behind other text.
fn text_after_others(tokenizer: &tokenizers::Tokenizer, token: String) -> String {
    let before = (**tokenizer).encode(BEFORE, false).map(|e| e.get_tokens().to_vec());
    let mut tokens = before.unwrap_or_default();
    let join = |tokens: &[String]| tokenizer.join(tokens.to_vec()).unwrap_or_default();
    let before = join(&tokens);
    tokens.push(token);
    let both = join(&tokens);
    both.strip_prefix(&before)
        .map(String::from)
        .unwrap_or_else(|| join(&tokens[tokens.len() - 1..]))
}

fn byte_tokens(decoder: &DecoderWrapper) -> Option<Bytes> {
    match decoder {
        DecoderWrapper::ByteLevel(_) => Some(Bytes::Level),
        DecoderWrapper::ByteFallback(_) => Some(Bytes::Fallback),
        DecoderWrapper::Sequence(sequence) => {
            let kinds = || sequence.get_decoders().iter().filter_map(byte_tokens);
            kinds().find(|&k| k == Bytes::Fallback).or_else(|| kinds().next())
        }
        _ => None,
    }
}

/// The byte of `<0xE2>`.
pub(super) fn named_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// The byte that a character of a GPT-2 token stands for: itself where it can be printed, or one of the others, which
/// are numbered from U+0100 on.
pub(crate) fn byte_of(c: char) -> Option<u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(c) {
        c @ 0..256 => Some(c as u8).filter(|&b| printable(b)),
        c => (0..=u8::MAX).filter(|&b| !printable(b)).nth(c as usize - 256),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_tokenizers::{byte_fallback, byte_level, word_piece};

    #[test]
    fn every_byte_of_a_byte_level_vocabulary_is_itself() {
        let tokenizer = byte_level();
        for b in 0..=255u8 {
            assert_eq!(tokenizer.token_bytes(u32::from(b)), [b]);
        }
        assert_eq!(tokenizer.token_bytes(257), b"</s>");
        assert_eq!(tokenizer.token_bytes(9999), b"");
    }

    #[test]
    fn markers_become_what_they_stand_for() {
        let text = |t: &crate::Tokenizer, id| String::from_utf8(t.token_bytes(id)).unwrap();
        let sentencepiece = byte_fallback();
        assert_eq!([256, 258, 259].map(|id| text(&sentencepiece, id)), [" a", "c", " "]);
        assert_eq!(sentencepiece.token_bytes(0xE2), [0xE2]);
        let pieces = word_piece(false);
        assert_eq!([5, 7, 9].map(|id| text(&pieces, id)), [" the", "s", " ."]);
    }
}
