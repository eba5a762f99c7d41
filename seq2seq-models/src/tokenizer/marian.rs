//! Folders of Marian: a sentencepiece model for each language, and a vocabulary that numbers their pieces.
//!
//! PARITY trap 20. As `MarianTokenizer` of transformers has it: a text is cut where added tokens stand, a language code
//! `>>xx<<` at the beginning of each part is one token, and the model of the source, or for what a model learns to write
//! that of the target, cuts the rest. Where the languages share a vocabulary, decoding follows the *source's* model.

use super::{
    Built,
    config::{TokenName, TokenizerConfig},
    rules::Rules,
    sentencepiece::{ModelFile, SPACE, SentencePiece},
};
use crate::{Error, Files, Result};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use tokenizers::processors::template::TemplateProcessing;

/// What a folder of Marian has.
#[cfg(feature = "hub")]
pub(super) const NEEDED: [&str; 3] = [SOURCE, TARGET, VOCABULARY];
pub(super) const FILES: [&str; 4] = [SOURCE, TARGET, VOCABULARY, TARGET_VOCABULARY];
pub(super) const SOURCE: &str = "source.spm";
const TARGET: &str = "target.spm";
const VOCABULARY: &str = "vocab.json";
const TARGET_VOCABULARY: &str = "target_vocab.json";

/// The longest text unless the configuration says otherwise.
const MAX_LENGTH: f64 = 512.0;

/// One language.
#[derive(Debug)]
struct Side {
    model: Arc<SentencePiece>,
    vocabulary: Arc<Vocabulary>,
    added: Arc<AddedTokens>,
}

/// Which token has which id.
#[derive(Debug)]
struct Vocabulary {
    ids: HashMap<String, u32>,
    tokens: HashMap<u32, String>,
    unknown: u32,
}

impl Vocabulary {
    fn read(files: &Files, name: &str, unknown: &str) -> Result<Self> {
        let wrong = |what: String| Error::file(files.path(name), what);
        let ids: HashMap<String, u32> = files.json(name)?.ok_or_else(|| {
            wrong("no such file; the tokenizer needs it beside the models".into())
        })?;
        let mut tokens = HashMap::with_capacity(ids.len());
        for (token, &id) in &ids {
            if let Some(other) = tokens.insert(id, token.clone()) {
                return Err(wrong(format!("'{token}' and '{other}' have the same id, {id}")));
            }
        }
        let unknown = *ids
            .get(unknown)
            .ok_or_else(|| wrong(format!("has no '{unknown}', the token for what is unknown")))?;
        Ok(Self { ids, tokens, unknown })
    }
}

/// Tokens that are found in a text before it is cut.
#[derive(Debug, Default)]
struct AddedTokens {
    /// The longest first.
    tokens: Vec<Added>,
    ids: HashMap<String, u32>,
    names: HashMap<u32, String>,
    /// What decoding may leave out.
    special: HashSet<String>,
    special_ids: HashSet<u32>,
}

#[derive(Debug)]
struct Added {
    content: String,
    id: u32,
    /// Whether it takes the spaces before it, and behind it.
    strips: (bool, bool),
}

impl AddedTokens {
    /// Those that the configuration lists with their ids, and its special tokens. Special ones that the vocabulary lacks
    /// get the ids behind all others.
    fn new(config: &TokenizerConfig, vocabulary: &Vocabulary) -> Result<Self, String> {
        let mut out = Self::default();
        for (&id, token) in &config.added_tokens_decoder {
            out.add(token, id)?;
        }
        let listed = out.ids.keys().filter(|token| !vocabulary.ids.contains_key(*token)).count();
        let mut behind = vocabulary.ids.len() + listed..;
        for token in config.special_tokens() {
            let name = token.content();
            let known = out.ids.get(name).or_else(|| vocabulary.ids.get(name)).copied();
            let next = || behind.next().and_then(|id| u32::try_from(id).ok());
            let id = known.or_else(next).ok_or("there are too many tokens")?;
            out.add(token, id)?;
            out.special.insert(name.into());
            out.special_ids.insert(id);
        }
        out.tokens.sort_by_key(|t| std::cmp::Reverse(t.content.len()));
        Ok(out)
    }

    /// Adds a token, unless it is there.
    fn add(&mut self, token: &TokenName, id: u32) -> Result<(), String> {
        let (name, flags) = (token.content(), token.flags());
        if flags.single_word {
            return Err(format!(
                "the added token '{name}' is to be found as a whole word only (single_word), which is not supported here"
            ));
        }
        if name.is_empty() || self.ids.contains_key(name) {
            return Ok(());
        }
        self.ids.insert(name.into(), id);
        self.names.insert(id, name.into());
        let strips = (flags.lstrip, flags.rstrip);
        self.tokens.push(Added { content: name.into(), id, strips });
        Ok(())
    }

    /// The first of the added tokens in a text: where, and which; the longest of those that begin there.
    fn first_in(&self, text: &str) -> Option<(usize, &Added)> {
        text.char_indices().find_map(|(at, _)| {
            let token = self.tokens.iter().find(|t| text[at..].starts_with(&t.content))?;
            Some((at, token))
        })
    }
}

/// A part of a text: where it begins, in bytes, and which added token it is, if any.
type Part<'a> = (usize, &'a str, Option<&'a Added>);

impl AddedTokens {
    fn split<'a>(&'a self, text: &'a str) -> Vec<Part<'a>> {
        let mut parts: Vec<Part<'a>> = Vec::new();
        let mut begin = 0;
        while let Some((at, token)) = self.first_in(&text[begin..]) {
            let (before, end) = (&text[begin..begin + at], begin + at + token.content.len());
            let kept = if token.strips.0 { before.trim_end_matches(is_space) } else { before };
            parts.push((begin, kept, None));
            parts.push((begin + at, &text[begin + at..end], Some(token)));
            begin = end;
            if token.strips.1 {
                begin = text.len() - text[end..].trim_start_matches(is_space).len();
            }
        }
        parts.push((begin, &text[begin..], None));
        parts.retain(|(_, part, _)| !part.is_empty());
        parts
    }
}

/// What `str.strip()` of Python takes away.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&c)
}

/// A language code at the beginning of a text, and the rest.
fn language_code(text: &str) -> (&str, &str) {
    match text.find("<<") {
        Some(at) if text.starts_with(">>") => text.split_at(at + 2),
        _ => ("", text),
    }
}

impl Side {
    fn id(&self, token: &str) -> u32 {
        self.token_to_id(token).unwrap_or(self.vocabulary.unknown)
    }
}

impl Rules for Side {
    fn encode(&self, text: &str) -> Result<tokenizers::Encoding> {
        let mut tokens: Vec<tokenizers::Token> = Vec::new();
        for (begin, part, added) in self.added.split(text) {
            let token = |id, value: String, from: usize, to: usize| tokenizers::Token {
                id,
                value,
                offsets: (begin + from, begin + to),
            };
            if let Some(added) = added {
                tokens.push(token(added.id, part.into(), 0, part.len()));
                continue;
            }
            let (code, rest) = language_code(part);
            if !code.is_empty() {
                tokens.push(token(self.id(code), code.into(), 0, code.len()));
            }
            let behind = code.len();
            tokens.extend(self.model.encode(rest).into_iter().map(|piece| {
                token(self.id(&piece.text), piece.text, behind + piece.begin, behind + piece.end)
            }));
        }
        to_characters(text, &mut tokens);
        Ok(tokenizers::Encoding::from_tokens(tokens, 0))
    }

    fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let kept = ids.iter().filter(|&&id| !(skip_special_tokens && self.is_special(id)));
        self.join(kept.filter_map(|&id| self.id_to_token(id)).collect())
    }

    fn join(&self, tokens: Vec<String>) -> Result<String> {
        let mut text = String::new();
        let mut pieces: Vec<&str> = Vec::new();
        for token in &tokens {
            if self.added.special.contains(token) {
                text += &self.model.decode(&pieces);
                text += token;
                text.push(' ');
                pieces.clear();
            } else {
                pieces.push(token);
            }
        }
        text += &self.model.decode(&pieces);
        Ok(text.replace(SPACE, " ").trim_matches(is_space).to_owned())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.added.ids.get(token).or_else(|| self.vocabulary.ids.get(token)).copied()
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.added.names.get(&id).or_else(|| self.vocabulary.tokens.get(&id)).cloned()
    }

    fn is_special(&self, id: u32) -> bool {
        self.added.special_ids.contains(&id)
    }

    fn vocab_size(&self) -> usize {
        let known = &self.vocabulary.ids;
        known.len() + self.added.ids.keys().filter(|token| !known.contains_key(*token)).count()
    }

    fn token_bytes(&self, token: String) -> Vec<u8> {
        match self.model.byte(&token) {
            Some(byte) => vec![byte],
            None => token.replace(SPACE, " ").into_bytes(),
        }
    }

    fn merges_pairs(&self) -> bool {
        false
    }

    fn marks_subwords(&self) -> bool {
        false
    }
}

/// Makes offsets in bytes those in characters.
fn to_characters(text: &str, tokens: &mut [tokenizers::Token]) {
    let mut characters = vec![0; text.len() + 1];
    let mut count = 0;
    for (at, place) in characters.iter_mut().enumerate() {
        // Within a character: that character.
        *place = count - usize::from(!text.is_char_boundary(at));
        count += usize::from(text.is_char_boundary(at));
    }
    for token in tokens {
        let of = |at: usize| characters.get(at).copied().unwrap_or(count);
        token.offsets = (of(token.offsets.0), of(token.offsets.1));
    }
}

/// The tokenizer of a folder with [`SOURCE`].
///
/// # Errors
/// Files that are missing, malformed or not supported.
pub(super) fn build(files: &Files, config: &mut TokenizerConfig) -> Result<Built> {
    let named = |name: &str| Some(TokenName::Text(name.into()));
    config.eos_token = config.eos_token.take().or_else(|| named("</s>"));
    config.unk_token = config.unk_token.take().or_else(|| named("<unk>"));
    config.pad_token = config.pad_token.take().or_else(|| named("<pad>"));
    config.model_max_length.get_or_insert(MAX_LENGTH);
    let unknown = config.unk_token.as_ref().map_or("", TokenName::content);
    let model = |name: &str| {
        let missing = || Error::file(files.path(name), "no such file; Marian needs two models");
        let bytes = files.read(name)?.ok_or_else(missing)?;
        let read = ModelFile::read(&bytes)
            .and_then(SentencePiece::new)
            .map_err(|e| Error::file(files.path(name), e))?;
        Ok::<_, Error>(Arc::new(read))
    };
    let source_vocabulary = Arc::new(Vocabulary::read(files, VOCABULARY, unknown)?);
    let target_vocabulary = match config.separate_vocabs {
        true => Arc::new(Vocabulary::read(files, TARGET_VOCABULARY, unknown)?),
        false => source_vocabulary.clone(),
    };
    let in_config = |e| Error::file(files.path("tokenizer_config.json"), e);
    let added = Arc::new(AddedTokens::new(config, &source_vocabulary).map_err(in_config)?);
    let source =
        Side { model: model(SOURCE)?, vocabulary: source_vocabulary, added: added.clone() };
    let target = Side { model: model(TARGET)?, vocabulary: target_vocabulary, added };
    let (source, target) = (Arc::new(source), Arc::new(target));
    let end = config.eos_token.as_ref().map_or("", TokenName::content);
    let template = TemplateProcessing::builder()
        .try_single(format!("$A {end}"))
        .and_then(|builder| builder.try_pair(format!("$A $B {end}")))
        .map_err(|e| e.to_string())
        .and_then(|builder| {
            builder.special_tokens(vec![(end, source.id(end))]).build().map_err(|e| e.to_string())
        })
        .map_err(|e| in_config(format!("the eos_token '{end}' cannot end a text: {e}")))?;
    let decoder = if config.separate_vocabs { target.clone() } else { source.clone() };
    let template = Some(template.into());
    Ok(Built {
        source,
        target,
        decoder,
        source_template: template.clone(),
        target_template: template,
    })
}
