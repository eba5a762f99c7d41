//! Models of sentencepiece (`source.spm`, `spiece.model`): text to pieces and back as that library does it.

mod charsmap;
mod normalizer;
mod proto;
mod unigram;

use super::token_bytes::named_byte;
pub(super) use charsmap::Charsmap;
use normalizer::Normalizer;
pub(super) use proto::{Algorithm, Kind, ModelFile};
use std::collections::HashMap;
use unigram::{Score, Unigram};

/// What stands for a space within a piece.
pub(super) const SPACE: &str = "▁";

/// What an unknown piece is decoded to, unless the model says otherwise.
const UNKNOWN_SURFACE: &str = " \u{2047} ";

/// A model whose pieces are drawn by themselves (Unigram).
#[derive(Debug, Clone)]
pub(super) struct SentencePiece {
    normalizer: Normalizer,
    unigram: Unigram,
    kinds: HashMap<String, Kind>,
    byte_fallback: bool,
    unknown_surface: String,
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// Where it comes from: start and end, in bytes.
    pub(super) begin: usize,
    pub(super) end: usize,
}

impl SentencePiece {
    /// # Errors
    /// Says what of the file is damaged or not supported.
    pub(super) fn new(file: ModelFile) -> Result<Self, String> {
        let ModelFile { pieces, trainer, normalizer } = file;
        if trainer.algorithm() != Algorithm::Unigram {
            return Err("is not a Unigram model, the only ones that are supported here".into());
        }
        let of = |kind| pieces.iter().filter(move |p| p.kind == kind).map(|p| p.text.clone());
        let symbols: Vec<String> = of(Kind::UserDefined).collect();
        let normal = pieces.iter().filter(|p| p.kind == Kind::Normal);
        let scores = normal
            .map(|p| (p.text.clone(), Score::Of(p.score)))
            .chain(symbols.iter().map(|s| (s.clone(), Score::Symbol)))
            .collect();
        Ok(Self {
            normalizer: Normalizer::new(&normalizer, &trainer, symbols)?,
            unigram: Unigram::new(scores),
            kinds: pieces.into_iter().map(|p| (p.text, p.kind)).collect(),
            byte_fallback: trainer.byte_fallback,
            unknown_surface: trainer.unk_surface.unwrap_or_else(|| UNKNOWN_SURFACE.into()),
        })
    }

    /// The pieces of a text. Unknown characters in a row are one piece, or where the model falls back to bytes one for
    /// each byte.
    pub(super) fn encode(&self, text: &str) -> Vec<Piece> {
        let normalized = self.normalizer.normalize(text);
        let origin = |at: usize| normalized.origins.get(at).copied().unwrap_or(text.len());
        let mut pieces: Vec<Piece> = Vec::new();
        let mut after_unknown = false;
        for part in self.unigram.cut(&normalized.text) {
            let (begin, end) = (origin(part.range.start), origin(part.range.end));
            let text = &normalized.text[part.range];
            match pieces.last_mut().filter(|_| after_unknown && part.unknown) {
                _ if part.unknown && self.byte_fallback => {
                    let bytes = text.bytes().map(|b| format!("<0x{b:02X}>"));
                    pieces.extend(bytes.map(|text| Piece { text, begin, end }));
                }
                Some(unknown) => {
                    unknown.text.push_str(text);
                    unknown.end = end;
                }
                None => pieces.push(Piece { text: text.into(), begin, end }),
            }
            after_unknown = part.unknown;
        }
        pieces
    }

    /// The byte that a piece stands for, such as `<0xE2>`.
    pub(super) fn byte(&self, piece: &str) -> Option<u8> {
        self.kinds.get(piece).filter(|&&kind| kind == Kind::Byte).and_then(|_| named_byte(piece))
    }

    /// The text of pieces. Those that the model does not know stand for themselves.
    pub(super) fn decode(&self, pieces: &[&str]) -> String {
        let mut text = String::new();
        let mut bytes = Vec::new();
        // Whether the space that was put before the text may still come, and whether it came.
        let (mut expects_prefix, mut had_prefix) = (true, false);
        for piece in pieces {
            if let Some(byte) = self.byte(piece) {
                bytes.push(byte);
                continue;
            }
            push_bytes(&mut text, &mut bytes);
            expects_prefix &= !had_prefix && text.is_empty();
            had_prefix = false;
            match self.kinds.get(*piece) {
                Some(Kind::Control) => {}
                Some(Kind::Unknown) => text.push_str(&self.unknown_surface),
                None => text.push_str(piece),
                Some(_) => {
                    let removes = self.normalizer.removes_extra_spaces;
                    let rest = piece
                        .strip_prefix(SPACE)
                        .filter(|_| expects_prefix && (removes || self.normalizer.adds_prefix));
                    // Where extra spaces are removed, all that stand first are.
                    had_prefix = rest.is_some() && !removes;
                    text.push_str(&rest.unwrap_or(piece).replace(SPACE, " "));
                }
            }
        }
        push_bytes(&mut text, &mut bytes);
        text
    }
}

/// Appends bytes as text, each that belongs to no character as U+FFFD, and empties them.
fn push_bytes(text: &mut String, bytes: &mut Vec<u8>) {
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let valid = rest.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        text.push_str(valid);
        rest = &rest[valid.len()..];
        if !rest.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[1..];
        }
    }
    bytes.clear();
}
