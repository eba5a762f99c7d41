//! What becomes of text before it is cut into pieces.

use super::{
    SPACE,
    charsmap::Charsmap,
    proto::{NormalizerSpec, TrainerSpec},
};

/// The rules of one model.
#[derive(Debug, Clone)]
pub(super) struct Normalizer {
    charsmap: Option<Charsmap>,
    /// What is never replaced, longest first.
    symbols: Vec<String>,
    pub(super) adds_prefix: bool,
    pub(super) removes_extra_spaces: bool,
    /// What stands for a space.
    space: &'static str,
    /// Whether the space that is added stands behind the text.
    at_the_end: bool,
}

/// Text, and where each of its bytes, and its end, comes from: a byte of the original.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Normalized {
    pub(super) text: String,
    pub(super) origins: Vec<usize>,
}

impl Normalized {
    fn push(&mut self, part: &str, origin: usize) {
        self.text.push_str(part);
        self.origins.resize(self.text.len(), origin);
    }
}

impl Normalizer {
    /// # Errors
    /// Rules that are damaged.
    pub(super) fn new(
        spec: &NormalizerSpec,
        trainer: &TrainerSpec,
        mut symbols: Vec<String>,
    ) -> Result<Self, String> {
        symbols.sort_by_key(|s| std::cmp::Reverse(s.len()));
        Ok(Self {
            charsmap: Charsmap::read(&spec.precompiled_charsmap)?,
            symbols,
            adds_prefix: spec.add_dummy_prefix.unwrap_or(true),
            removes_extra_spaces: spec.remove_extra_whitespaces.unwrap_or(true),
            space: if spec.escape_whitespaces.unwrap_or(true) { SPACE } else { " " },
            at_the_end: trainer.treat_whitespace_as_suffix,
        })
    }

    /// What the beginning of a text, which is not empty, becomes, and how many of its bytes that is.
    fn first<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        if let Some(symbol) = self.symbols.iter().find(|s| text.starts_with(&s[..])) {
            return (symbol, symbol.len());
        }
        if let Some((length, replacement)) = self.charsmap.as_ref().and_then(|m| m.longest(text)) {
            return (replacement, length);
        }
        let length = text.chars().next().map_or(0, char::len_utf8);
        (&text[..length], length)
    }

    /// The parts of a text, and where each begins.
    fn parts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (&'a str, usize)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
            let (part, length) = self.first(rest);
            let begin = at;
            at += length;
            Some((part, begin))
        })
    }

    pub(super) fn normalize(&self, text: &str) -> Normalized {
        let mut parts = self.parts(text).peekable();
        if self.removes_extra_spaces {
            while parts.next_if(|&(part, _)| part == " ").is_some() {}
        }
        let mut out = Normalized::default();
        let Some(&(_, begin)) = parts.peek() else { return out };
        if self.adds_prefix && !self.at_the_end {
            out.push(self.space, begin);
        }
        let mut after_space = self.removes_extra_spaces;
        for (part, begin) in parts {
            let part = if after_space { part.trim_start_matches(' ') } else { part };
            if !part.is_empty() {
                out.push(&part.replace(' ', self.space), begin);
                after_space = self.removes_extra_spaces && part.ends_with(' ');
            }
        }
        let mut end = text.len();
        if self.removes_extra_spaces {
            let length = out.text.trim_end_matches(self.space).len();
            end = out.origins.get(length).copied().unwrap_or(end);
            out.text.truncate(length);
            out.origins.truncate(length);
        }
        if self.adds_prefix && self.at_the_end {
            out.push(self.space, end);
        }
        out.origins.push(end);
        out
    }
}
