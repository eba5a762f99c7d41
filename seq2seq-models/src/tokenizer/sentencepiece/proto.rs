//! What is used of a sentencepiece model's file, a protocol buffer (`sentencepiece_model.proto`). Fields that are not
//! named here are passed over.

use super::named_byte;
use prost::Message;
use std::collections::HashSet;

/// The file.
#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<PieceProto>,
    #[prost(message, optional, tag = "2")]
    trainer_spec: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer_spec: Option<NormalizerSpec>,
    #[prost(message, optional, tag = "5")]
    denormalizer_spec: Option<NormalizerSpec>,
}

/// A file whose parts were checked one by one.
#[derive(Debug, Clone)]
pub(in crate::tokenizer) struct ModelFile {
    pub(in crate::tokenizer) pieces: Vec<PieceOfFile>,
    pub(in crate::tokenizer) trainer: TrainerSpec,
    pub(in crate::tokenizer) normalizer: NormalizerSpec,
}

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::tokenizer) struct PieceOfFile {
    /// Not empty, and of no other piece.
    pub(in crate::tokenizer) text: String,
    /// The logarithm of its probability, or in BPE its rank, negated; finite.
    pub(in crate::tokenizer) score: f32,
    pub(in crate::tokenizer) kind: Kind,
}

impl ModelFile {
    /// # Errors
    /// Says what is wrong with the file, or what of it is not supported.
    pub(in crate::tokenizer) fn read(bytes: &[u8]) -> Result<Self, String> {
        let ModelProto { pieces, trainer_spec, normalizer_spec, denormalizer_spec } =
            ModelProto::decode(bytes)
                .map_err(|e| format!("is no model of sentencepiece, or is damaged: {e}"))?;
        if denormalizer_spec.is_some_and(|spec| !spec.precompiled_charsmap.is_empty()) {
            return Err(
                "has rules for decoding (denormalizer_spec), which are not supported".into()
            );
        }
        let mut seen = HashSet::with_capacity(pieces.len());
        let mut unknown = 0;
        for (i, piece) in pieces.iter().enumerate() {
            let text = &piece.piece;
            let wrong = |what: &str| Err(format!("piece {i}, {text:?}, {what}"));
            match piece.known_kind() {
                None => return wrong("is of an unknown kind"),
                _ if text.is_empty() => return wrong("is empty"),
                _ if !piece.score.is_finite() => return wrong("has no finite score"),
                _ if !seen.insert(text.as_str()) => return wrong("is there twice"),
                Some(Kind::Byte) if named_byte(text).is_none() => {
                    return wrong("is meant for a byte but names none");
                }
                Some(kind) => unknown += usize::from(kind == Kind::Unknown),
            }
        }
        if unknown != 1 {
            return Err("has not exactly one piece for what is unknown".into());
        }
        let checked = |p: PieceProto| {
            let kind = p.known_kind()?;
            Some(PieceOfFile { text: p.piece, score: p.score, kind })
        };
        Ok(Self {
            pieces: pieces.into_iter().filter_map(checked).collect(),
            trainer: trainer_spec.unwrap_or_default(),
            normalizer: normalizer_spec.unwrap_or_default(),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct PieceProto {
    #[prost(string, tag = "1")]
    piece: String,
    #[prost(float, tag = "2")]
    score: f32,
    #[prost(enumeration = "Kind", optional, tag = "3")]
    kind: Option<i32>,
}

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(in crate::tokenizer) enum Kind {
    /// Text.
    Normal = 1,
    /// What no other piece covers.
    Unknown = 2,
    /// Never met in text, such as `</s>`.
    Control = 3,
    /// Always one token where it is met in text.
    UserDefined = 4,
    /// Not to be used.
    Unused = 5,
    /// A byte of what no piece covers, `<0xE2>`.
    Byte = 6,
}

impl PieceProto {
    /// `None` for a kind that is not known.
    fn known_kind(&self) -> Option<Kind> {
        self.kind.map_or(Some(Kind::Normal), |kind| Kind::try_from(kind).ok())
    }
}

/// How the model was trained; of that, what matters afterwards.
#[derive(Clone, PartialEq, Message)]
pub(in crate::tokenizer) struct TrainerSpec {
    /// 1 is Unigram, 2 is BPE, 3 words, 4 characters.
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, tag = "24")]
    pub(super) treat_whitespace_as_suffix: bool,
    #[prost(bool, tag = "35")]
    pub(super) byte_fallback: bool,
    #[prost(string, optional, tag = "44")]
    pub(super) unk_surface: Option<String>,
}

impl TrainerSpec {
    pub(in crate::tokenizer) fn algorithm(&self) -> Algorithm {
        match self.model_type {
            None | Some(1) => Algorithm::Unigram,
            Some(2) => Algorithm::Bpe,
            Some(_) => Algorithm::Other,
        }
    }
}

/// How a model cuts text into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tokenizer) enum Algorithm {
    Unigram,
    Bpe,
    Other,
}

/// What becomes of text before it is cut.
#[derive(Clone, PartialEq, Message)]
pub(in crate::tokenizer) struct NormalizerSpec {
    #[prost(bytes = "vec", tag = "2")]
    pub(in crate::tokenizer) precompiled_charsmap: Vec<u8>,
    #[prost(bool, optional, tag = "3")]
    pub(super) add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub(super) remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub(super) escape_whitespaces: Option<bool>,
}
