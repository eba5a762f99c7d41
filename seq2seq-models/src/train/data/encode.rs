//! Rows as ids.

mod answer;

use super::Row;
use crate::{Encoding, Error, Result, Tokenizer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A row as ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    /// What is read; empty for [`Row::Text`], unless it is its own source ([`RowEncoder::echoes`]).
    pub source: Vec<u32>,
    /// What is to be written, or the text; of [`Row::Tagged`] a class or [`UNTAGGED`] for each id of the source; of
    /// [`Row::Question`] the places of the first and the last id of the answer, both 0 where there is none.
    pub target: Vec<u32>,
    /// Of [`Row::Question`] the segment of each id of the source: 0 for the question, 1 for the context.
    pub segments: Vec<u32>,
}

impl Example {
    /// Ids of source and target.
    pub fn tokens(&self) -> usize {
        self.source.len() + self.target.len()
    }
}

/// In place of the class of an id that has none: special tokens, and all tokens of a word but the first.
pub const UNTAGGED: u32 = u32::MAX;

/// What becomes of rows that are longer than they may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlong {
    /// They lose tokens at their end, but not the special ones.
    #[default]
    Truncate,
    /// They are errors.
    Refuse,
}

/// The most ids of a source, and of a target or text.
#[derive(Debug, Clone, Copy)]
struct Limits {
    source: Option<usize>,
    target: Option<usize>,
}

/// Turns rows into ids.
#[derive(Debug, Clone)]
pub struct RowEncoder {
    tokenizer: Tokenizer,
    /// That of targets.
    targets: Tokenizer,
    /// The most ids of a source, special tokens included; `None` for any number.
    pub max_source: Option<usize>,
    /// The most ids of a target or text.
    pub max_target: Option<usize>,
    /// The most ids of the source and target of a [`Row::Pair`] together, where a model reads one behind the other.
    pub max_together: Option<usize>,
    /// What becomes of longer ones.
    pub overlong: Overlong,
    /// What targets and texts must end with; it is appended where the tokenizer does not. `None` leaves them as they
    /// are.
    pub eos: Option<u32>,
    /// Where targets or tags are names of classes: which class is which. The only id of such a target is its class.
    pub classes: Option<BTreeMap<String, u32>>,
    /// Whether a text is read too, as it is written: its own source.
    pub echoes: bool,
}

impl RowEncoder {
    /// Without limits, and without another end than that of the tokenizer.
    pub fn new(tokenizer: Tokenizer) -> Self {
        let overlong = Overlong::default();
        let targets = tokenizer.for_targets();
        let (max_source, max_target, max_together) = (None, None, None);
        let (eos, classes, echoes) = (None, None, false);
        Self {
            tokenizer,
            targets,
            max_source,
            max_target,
            max_together,
            overlong,
            eos,
            classes,
            echoes,
        }
    }

    /// The tokenizer of sources and texts.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The ids of a row.
    ///
    /// # Errors
    /// Rows that come to no ids or are longer than allowed where that is refused, limits that leave no room, and text
    /// that the tokenizer cannot encode. The message leaves it to the caller to name the row.
    pub fn encode(&self, row: &Row) -> Result<Example> {
        self.encode_to(row, self.limits())
    }

    /// The ids of a row, of which source and target together are no more than a batch may have, and what has been cut where
    /// they would have been more. Of source and target the longer one loses tokens, and both where each has more than half
    /// of the room.
    pub(super) fn encode_within(
        &self,
        row: &Row,
        batch: usize,
    ) -> Result<(Example, Option<String>)> {
        let whole = self.encode(row)?;
        let tokens = whole.tokens();
        let together = self.max_together.filter(|_| matches!(row, Row::Pair { .. }));
        let (most, of) = match together.filter(|&model| model < batch) {
            None => (batch, "of a batch (data.batch_tokens)"),
            Some(model) => (model, "that the model reads of source and target together"),
        };
        if tokens <= most {
            return Ok((whole, None));
        }
        let longer = format!("has {tokens} tokens, more than the {most} {of}");
        if self.overlong == Overlong::Refuse {
            return Err(Error::Input(format!(
                "{longer}; lower the longest lengths or raise those"
            )));
        }
        let (source, target) = (whole.source.len(), whole.target.len());
        let room = match row {
            Row::Tagged { .. } => (most / 2, most / 2),
            // A target that is a class or a place has no text to be cut.
            Row::Question { .. } => (most.saturating_sub(target), target),
            Row::Pair { .. } if self.classes.is_some() => (most.saturating_sub(target), target),
            Row::Pair { .. } | Row::Text(_) if source <= most / 2 => (source, most - source),
            Row::Pair { .. } | Row::Text(_) if target <= most / 2 => (most - target, target),
            Row::Pair { .. } | Row::Text(_) => (most - most / 2, most / 2),
        };
        let Limits { source, target } = self.limits();
        let limits =
            Limits { source: least(source, Some(room.0)), target: least(target, Some(room.1)) };
        Ok((self.encode_to(row, limits)?, Some(longer)))
    }

    fn limits(&self) -> Limits {
        Limits { source: self.max_source, target: self.max_target }
    }

    fn encode_to(&self, row: &Row, limits: Limits) -> Result<Example> {
        Ok(match row {
            Row::Text(text) => {
                let target = self.ids("text", &self.tokenizer, text, limits.target, self.eos)?;
                let source = match self.echoes {
                    true => self.ids("text", &self.tokenizer, text, limits.source, None)?,
                    false => Vec::new(),
                };
                Example { source, target, ..Example::default() }
            }
            Row::Pair { source, target } => Example {
                source: self.ids("source", &self.tokenizer, source, limits.source, None)?,
                target: match &self.classes {
                    None => self.ids("target", &self.targets, target, limits.target, self.eos)?,
                    Some(classes) => vec![class(classes, target)?],
                },
                segments: Vec::new(),
            },
            Row::Tagged { tokens, tags } => self.tagged(tokens, tags, limits.source)?,
            Row::Question { question, context, answer, start } => {
                let end = start + answer.chars().count();
                answer::example(self, question, context, *start..end, limits.source)?
            }
        })
    }

    /// Words with a space between them. The first token of each has the class of the word; the others do not count
    /// (as in the examples of transformers).
    fn tagged(&self, words: &[String], tags: &[String], limit: Option<usize>) -> Result<Example> {
        if words.is_empty() {
            return Err(Error::input("there are no words"));
        }
        let text = words.join(" ");
        let kept = self.encoding("source", &self.tokenizer, &text, limit, |_| 0)?;
        let mut target = vec![UNTAGGED; kept.len()];
        let no_classes = BTreeMap::new();
        let classes = self.classes.as_ref().unwrap_or(&no_classes);
        let mut begin = 0;
        let mut tokens = (0..kept.len()).filter(|&i| !kept.is_special(i)).peekable();
        for (word, tag) in words.iter().zip(tags) {
            let (end, class) = (begin + word.chars().count(), class(classes, tag)?);
            // Spaces belong to no word.
            while tokens.next_if(|&i| kept.offsets()[i].1 <= begin).is_some() {}
            if let Some(first) = tokens.next_if(|&i| kept.offsets()[i].0 < end) {
                target[first] = class;
            }
            while tokens.next_if(|&i| kept.offsets()[i].0 < end).is_some() {}
            begin = end + 1;
        }
        Ok(Example { source: kept.ids().to_vec(), target, segments: Vec::new() })
    }

    fn ids(
        &self,
        what: &str,
        tokenizer: &Tokenizer,
        text: &str,
        limit: Option<usize>,
        eos: Option<u32>,
    ) -> Result<Vec<u32>> {
        let ends = |encoding: &Encoding| encoding.ids().last().copied() == eos;
        let encoding = self
            .encoding(what, tokenizer, text, limit, |e| usize::from(eos.is_some() && !ends(e)))?;
        let appended = eos.filter(|_| !ends(&encoding));
        let ids: Vec<u32> = encoding.ids().iter().copied().chain(appended).collect();
        match ids.is_empty() {
            true => Err(Error::input(format!("the {what} is empty"))),
            false => Ok(ids),
        }
    }

    /// A text with room for as many ids behind it as `appended` says of the whole of it.
    fn encoding(
        &self,
        what: &str,
        tokenizer: &Tokenizer,
        text: &str,
        limit: Option<usize>,
        appended: impl Fn(&Encoding) -> usize,
    ) -> Result<Encoding> {
        let whole = tokenizer.encode(text)?;
        let appended = appended(&whole);
        let tokens = whole.len() + appended;
        match limit.filter(|&limit| tokens > limit) {
            None => Ok(whole),
            Some(limit) if self.overlong == Overlong::Refuse => {
                Err(Error::Input(format!("the {what} has {tokens} tokens, more than {limit}")))
            }
            Some(limit) => tokenizer.encode_truncated(text, limit.saturating_sub(appended)),
        }
    }
}

/// The smaller of two limits that there may be.
pub(crate) fn least(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    a.into_iter().chain(b).min()
}

fn class(classes: &BTreeMap<String, u32>, name: &str) -> Result<u32> {
    classes.get(name).copied().ok_or_else(|| {
        let known: Vec<&str> = classes.keys().map(String::as_str).collect();
        Error::Input(format!("'{name}' is no class of the model; there is {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::test_tokenizers::{byte_level, word_piece};

    fn pair(source: &str, target: &str) -> Row {
        Row::Pair { source: source.into(), target: target.into() }
    }

    #[test]
    fn special_tokens_survive_truncation() {
        let mut encoder = RowEncoder::new(word_piece(false));
        let whole = encoder.encode(&pair("the cat sat", "cats")).unwrap();
        let example = |source: &[u32], target: &[u32]| Example {
            source: source.to_vec(),
            target: target.to_vec(),
            ..Example::default()
        };
        assert_eq!(whole, example(&[2, 5, 6, 8, 3], &[2, 6, 7, 3]));
        encoder.max_source = Some(4);
        encoder.max_target = Some(3);
        let cut = encoder.encode(&pair("the cat sat", "cats")).unwrap();
        assert_eq!(cut, example(&[2, 5, 6, 3], &[2, 6, 3]));
        encoder.max_target = Some(2);
        let error = encoder.encode(&pair("the", "cat")).unwrap_err().to_string();
        assert!(error.contains("no room"), "{error}");
    }

    #[test]
    fn source_and_target_fit_together() {
        let mut encoder = RowEncoder::new(byte_level());
        encoder.eos = Some(257);
        // Of source, target, and both before they were cut, 0 where they were not.
        let lengths = |encoder: &RowEncoder, row: &Row, most| -> (usize, usize, usize) {
            let (example, cut) = encoder.encode_within(row, most).unwrap();
            let tokens = cut.map_or(0, |cut| cut.split(' ').nth(1).unwrap().parse().unwrap());
            (example.source.len(), example.target.len(), tokens)
        };
        // A target is a token longer than its text.
        for (source, target, most, expected) in [
            (30, 9, 40, (30, 10, 0)),
            (30, 9, 39, (29, 10, 40)),
            (9, 30, 20, (9, 11, 40)),
            (30, 30, 21, (11, 10, 61)),
        ] {
            let row = pair(&"s".repeat(source), &"t".repeat(target));
            assert_eq!(lengths(&encoder, &row, most), expected);
        }
        encoder.max_together = Some(20);
        let row = pair(&"s".repeat(30), "ttt");
        assert_eq!(lengths(&encoder, &row, 33), (16, 4, 34));
        assert_eq!(lengths(&encoder, &row, 19), (15, 4, 34));
        encoder.max_together = None;
        let text = Row::Text("t".repeat(50));
        assert_eq!(lengths(&encoder, &text, 20), (0, 20, 51));
        encoder.echoes = true;
        assert_eq!(lengths(&encoder, &text, 20), (10, 10, 101));
        encoder.max_source = Some(4);
        assert_eq!(lengths(&encoder, &text, 20), (4, 16, 55));
        encoder.classes = Some([("Good".to_owned(), 1)].into());
        encoder.max_source = None;
        assert_eq!(lengths(&encoder, &pair(&"s".repeat(50), "Good"), 20), (19, 1, 51));
        encoder.overlong = Overlong::Refuse;
        let error = encoder.encode_within(&text, 20).unwrap_err().to_string();
        assert!(error.contains("has 101 tokens, more than the 20 of a batch"), "{error}");

        let mut encoder = RowEncoder::new(word_piece(false));
        encoder.classes = Some([("O".to_owned(), 0)].into());
        let words = ["the", "cats", "sat"].map(String::from).to_vec();
        let tagged = Row::Tagged { tokens: words, tags: vec!["O".into(); 3] };
        // A class for each token; [CLS] the cat ##s sat [SEP].
        assert_eq!(lengths(&encoder, &tagged, 9), (4, 4, 12));
    }

    #[test]
    fn targets_end_where_the_tokenizer_does_not_end_them() {
        let mut encoder = RowEncoder::new(byte_level());
        encoder.eos = Some(257);
        let ab = [u32::from(b'a'), u32::from(b'b')];
        let encode =
            |e: &RowEncoder, text: &str| e.encode(&Row::Text(text.into())).map(|e| e.target);
        assert_eq!(encode(&encoder, "ab").unwrap(), [ab[0], ab[1], 257]);
        assert_eq!(encode(&encoder, "").unwrap(), [257]);
        assert_eq!(encoder.encode(&pair("ab", "a")).unwrap().source, ab);
        encoder.max_target = Some(2);
        assert_eq!(encode(&encoder, "ab").unwrap(), [ab[0], 257]);
        assert_eq!(encode(&encoder, "b").unwrap(), [ab[1], 257]);
        encoder.overlong = Overlong::Refuse;
        let error = encode(&encoder, "ab").unwrap_err().to_string();
        assert!(error.contains("the text has 3 tokens, more than 2"), "{error}");
        assert!(
            encoder.encode(&pair("", "a")).unwrap_err().to_string().contains("source is empty")
        );
    }

    #[test]
    fn targets_may_be_classes() {
        let mut encoder = RowEncoder::new(byte_level());
        encoder.eos = Some(257);
        encoder.classes = Some([("Good".to_owned(), 1), ("Bad".to_owned(), 0)].into());
        assert_eq!(encoder.encode(&pair("ab", "Good")).unwrap().target, [1]);
        let error = encoder.encode(&pair("ab", "good")).unwrap_err().to_string();
        assert!(error.contains("'good'") && error.contains("Bad, Good"), "{error}");
    }

    #[test]
    fn the_first_token_of_a_word_is_tagged() {
        let mut encoder = RowEncoder::new(word_piece(false));
        encoder.classes = Some([("O".to_owned(), 0), ("B".to_owned(), 1)].into());
        let row = |tokens: &[&str], tags: &[&str]| Row::Tagged {
            tokens: tokens.iter().map(|&t| t.into()).collect(),
            tags: tags.iter().map(|&t| t.into()).collect(),
        };
        let encoded = encoder.encode(&row(&["the", "cats", "sat"], &["O", "B", "O"])).unwrap();
        let none = UNTAGGED;
        // [CLS] the cat ##s sat [SEP]
        assert_eq!(encoded.source, [2, 5, 6, 7, 8, 3]);
        assert_eq!(encoded.target, [none, 0, 1, none, 0, none]);
        encoder.max_source = Some(4);
        let cut = encoder.encode(&row(&["the", "cats", "sat"], &["O", "B", "O"])).unwrap();
        assert_eq!(cut.source, [2, 5, 6, 3]);
        assert_eq!(cut.target, [none, 0, 1, none]);
        let error = encoder.encode(&row(&["cat"], &["C"])).unwrap_err().to_string();
        assert!(error.contains("'C' is no class") && error.contains("B, O"), "{error}");
        let error = encoder.encode(&row(&[], &[])).unwrap_err().to_string();
        assert!(error.contains("no words"), "{error}");
    }
}
