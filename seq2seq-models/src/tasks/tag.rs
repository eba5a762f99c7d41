//! Token classification: which labels hold for which stretch of a text.

use super::{Labels, Seen, Task, View, argmax, finite, softmax};
use crate::{Encoding, Error, Result, Tokenizer};
use serde::Serialize;
use std::str::FromStr;

/// How tokens are joined to entities (PARITY trap 35).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Aggregation {
    /// Every token by itself.
    None,
    /// Neighbouring tokens of one label are one entity.
    #[default]
    Simple,
    /// A word has the label of its first token.
    First,
    /// A word has the label of the best mean over its tokens.
    Average,
    /// A word has the label of its surest token.
    Max,
}

impl FromStr for Aggregation {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        Ok(match s {
            "none" => Self::None,
            "simple" => Self::Simple,
            "first" => Self::First,
            "average" => Self::Average,
            "max" => Self::Max,
            _ => {
                let reason =
                    format!("aggregation '{s}' is not one of none, simple, first, average, max");
                return Err(Error::Input(reason));
            }
        })
    }
}

/// A labelled stretch of the text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Entity {
    /// The label of a token ([`Aggregation::None`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The label of a group, without its `B-` or `I-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_group: Option<String>,
    /// Its probability; the mean over a group.
    pub score: f32,
    /// The place of the token in the sequence ([`Aggregation::None`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The tokens as text, which may differ from what stands in the text.
    pub word: String,
    /// The first character in the text.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
}

/// Token classification.
///
/// ```
/// use seq2seq_models::{LoadOptions, Model, Tokenizer, tasks::{self, Labels, Tagger}};
///
/// # let folder = "../fixtures/bert_token_classification";
/// let model = Model::load(folder, &LoadOptions::default())?;
/// let tokenizer = Tokenizer::from_files(model.files())?;
/// let tagger = Tagger::new(&tokenizer, Labels::from_files(model.files())?);
/// for entity in &tasks::run(&model, &tagger, &["The blue cat sat on the old river-house.".into()])?[0] {
///     println!("{:?} {} {}", entity.entity_group, entity.word, entity.score);
/// #   assert!(entity.entity_group.as_deref().is_some_and(|group| ["PER", "LOC"].contains(&group)));
/// }
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug)]
pub struct Tagger<'a> {
    /// Cuts texts.
    pub tokenizer: &'a Tokenizer,
    /// Names the classes.
    pub labels: Labels,
    /// How tokens become entities.
    pub aggregation: Aggregation,
    /// Labels that are left out, usually `O`.
    pub ignore: Vec<String>,
    /// Texts are cut to so many tokens; `None` leaves them whole.
    pub truncate: Option<usize>,
}

/// A token before aggregation.
struct Token {
    index: usize,
    word: String,
    span: (usize, usize),
    continues: bool,
    scores: Vec<f32>,
}

/// A token or word with its label.
struct Labelled<'a> {
    label: &'a str,
    score: f32,
    index: usize,
    words: Vec<String>,
    span: (usize, usize),
}

impl<'a> Tagger<'a> {
    /// Joins neighbouring tokens of whole texts, and leaves out those with the label `O`.
    pub fn new(tokenizer: &'a Tokenizer, labels: Labels) -> Self {
        let (aggregation, ignore) = (Aggregation::default(), vec!["O".to_owned()]);
        Self { tokenizer, labels, aggregation, ignore, truncate: None }
    }

    /// The entities of `text`, from logits `[T, labels]`.
    ///
    /// # Errors
    /// Where there are not as many labels as columns, for logits that are not finite, and for tokens that the tokenizer cannot
    /// join to text.
    pub fn entities(
        &self,
        text: &str,
        encoding: &Encoding,
        logits: View<'_>,
    ) -> Result<Vec<Entity>> {
        self.labels.check(logits.width)?;
        finite("logits", logits.values)?;
        let tokens = self.tokens(text, encoding, logits);
        let labelled = match self.aggregation {
            Aggregation::None | Aggregation::Simple => {
                tokens.iter().map(|t| self.label(t, t.scores.clone())).collect()
            }
            _ => self.words(&tokens),
        };
        let mut entities = match self.aggregation {
            Aggregation::None => labelled.into_iter().map(token_entity).collect(),
            _ => self.groups(labelled)?,
        };
        entities.retain(|e| {
            let label = e.entity.as_ref().or(e.entity_group.as_ref());
            label.is_none_or(|l| !self.ignore.contains(l))
        });
        Ok(entities)
    }

    fn tokens(&self, text: &str, encoding: &Encoding, logits: View<'_>) -> Vec<Token> {
        let text: Vec<char> = text.chars().collect();
        let marked = self.tokenizer.marks_subwords();
        let unk = self.tokenizer.unk_id();
        let token = |(index, row): (usize, &[f32])| {
            let (start, end) = encoding.offsets()[index];
            let surface: String = text.get(start..end).unwrap_or_default().iter().collect();
            let piece = encoding.tokens()[index].clone();
            let unknown = Some(encoding.ids()[index]) == unk;
            let continues = match marked {
                // `##s` is longer than the `s` in the text.
                true => piece.chars().count() != end - start,
                // No mark: a token continues a word when no space is before it or at its beginning.
                false => start > 0 && !text[start - 1..(start + 1).min(text.len())].contains(&' '),
            };
            Token {
                index,
                word: if unknown { surface } else { piece },
                span: (start, end),
                continues: continues && !unknown,
                scores: softmax(row),
            }
        };
        logits.rows().enumerate().filter(|&(i, _)| !encoding.is_special(i)).map(token).collect()
    }

    fn label(&self, token: &Token, scores: Vec<f32>) -> Labelled<'_> {
        let best = argmax(&scores);
        Labelled {
            label: &self.labels.names()[best],
            score: scores[best],
            index: token.index,
            words: vec![token.word.clone()],
            span: token.span,
        }
    }

    /// One label a word.
    fn words(&self, tokens: &[Token]) -> Vec<Labelled<'_>> {
        // A token that continues nothing, at the very start, begins a word as well.
        let words = tokens.chunk_by(|_, next| next.continues);
        words
            .map(|word| {
                let scores = match self.aggregation {
                    Aggregation::Average => mean(word),
                    Aggregation::Max => surest(word).clone(),
                    _ => word[0].scores.clone(),
                };
                let mut labelled = self.label(&word[0], scores);
                labelled.words = word.iter().map(|t| t.word.clone()).collect();
                labelled.span.1 = word[word.len() - 1].span.1;
                labelled
            })
            .collect()
    }

    /// Neighbours of one label are one entity, unless the later one begins with `B-`.
    fn groups(&self, labelled: Vec<Labelled<'_>>) -> Result<Vec<Entity>> {
        let joins = |a: &Labelled<'_>, b: &Labelled<'_>| {
            let ((_, last), (begins, tag)) = (split_tag(a.label), split_tag(b.label));
            tag == last && !begins
        };
        let group = |group: &[Labelled<'_>]| {
            // A word is joined to text first, and the words of a group once more.
            let words = group.iter().map(|l| self.word_text(l)).collect::<Result<Vec<_>>>()?;
            Ok(Entity {
                entity: None,
                entity_group: Some(
                    group[0]
                        .label
                        .split_once('-')
                        .map_or(group[0].label, |(_, tag)| tag)
                        .to_owned(),
                ),
                score: group.iter().map(|l| l.score).sum::<f32>() / group.len() as f32,
                index: None,
                word: self.tokenizer.join_tokens(words)?,
                start: group[0].span.0,
                end: group[group.len() - 1].span.1,
            })
        };
        labelled.chunk_by(joins).map(group).collect()
    }

    fn word_text(&self, labelled: &Labelled<'_>) -> Result<String> {
        match self.aggregation {
            Aggregation::Simple => Ok(labelled.words.concat()),
            _ => self.tokenizer.join_tokens(labelled.words.clone()),
        }
    }
}

fn token_entity(labelled: Labelled<'_>) -> Entity {
    Entity {
        entity: Some(labelled.label.to_owned()),
        entity_group: None,
        score: labelled.score,
        index: Some(labelled.index),
        word: labelled.words.concat(),
        start: labelled.span.0,
        end: labelled.span.1,
    }
}

/// Whether the label begins an entity, and the label without its prefix.
fn split_tag(label: &str) -> (bool, &str) {
    match (label.strip_prefix("B-"), label.strip_prefix("I-")) {
        (Some(tag), _) => (true, tag),
        (_, Some(tag)) => (false, tag),
        _ => (false, label),
    }
}

fn mean(word: &[Token]) -> Vec<f32> {
    let count = word.len() as f32;
    (0..word[0].scores.len())
        .map(|i| word.iter().map(|t| t.scores[i]).sum::<f32>() / count)
        .collect()
}

/// The scores of the token whose best score is largest, the first of equals.
fn surest(word: &[Token]) -> &Vec<f32> {
    let best: Vec<f32> = word.iter().map(|t| t.scores[argmax(&t.scores)]).collect();
    &word[argmax(&best)].scores
}

impl Task for Tagger<'_> {
    type Input = String;
    type Output = Vec<Entity>;

    fn prepare(&self, text: &String) -> Result<Vec<Encoding>> {
        let encoding = match self.truncate {
            None => self.tokenizer.encode(text),
            Some(limit) => self.tokenizer.encode_truncated(text, limit),
        };
        Ok(vec![encoding?])
    }

    fn finish(&self, text: &String, seen: &[Seen<'_>]) -> Result<Vec<Entity>> {
        self.entities(text, seen[0].encoding, seen[0].output("logits")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::test_tokenizers::{byte_level, word_piece};

    fn labels() -> Labels {
        let names = r#"{"id2label": {"0": "O", "1": "B-X", "2": "I-X", "3": "B-Y"}}"#;
        serde_json::from_str(names).unwrap()
    }

    /// `[CLS] the cat ##s sat , [UNK] [SEP]`, each token with the label of highest logit given, by `sureness`.
    fn tag(aggregation: Aggregation, best: [usize; 6], sureness: [f32; 6]) -> Vec<Entity> {
        let tokenizer = word_piece(true);
        let tagger = Tagger {
            tokenizer: &tokenizer,
            labels: labels(),
            aggregation,
            ignore: vec!["O".into()],
            truncate: None,
        };
        let text = "The cats sat, Ünk".to_owned();
        let encoding = &tagger.prepare(&text).unwrap()[0];
        let mut logits = vec![0.0; 8 * 4];
        for (i, (label, logit)) in best.into_iter().zip(sureness).enumerate() {
            logits[(i + 1) * 4 + label] = logit;
        }
        tagger.entities(&text, encoding, View { values: &logits, width: 4 }).unwrap()
    }

    fn brief(entities: &[Entity]) -> Vec<(&str, &str, usize, usize)> {
        entities
            .iter()
            .map(|e| {
                (
                    e.entity.as_ref().or(e.entity_group.as_ref()).unwrap().as_str(),
                    e.word.as_str(),
                    e.start,
                    e.end,
                )
            })
            .collect()
    }

    #[test]
    fn tokens_by_themselves() {
        let got = tag(Aggregation::None, [0, 1, 2, 3, 0, 2], [4.0; 6]);
        assert_eq!(
            brief(&got),
            [
                ("B-X", "cat", 4, 7),
                ("I-X", "##s", 7, 8),
                ("B-Y", "sat", 9, 12),
                ("I-X", "Ünk", 14, 17)
            ]
        );
        assert_eq!(got[0].index, Some(2));
        assert!((got[0].score - 4f32.exp() / (4f32.exp() + 3.0)).abs() < 1e-6);
    }

    #[test]
    fn neighbours_of_a_label_join_unless_one_begins() {
        let got = tag(Aggregation::Simple, [1, 2, 2, 1, 2, 0], [4.0; 6]);
        assert_eq!(brief(&got), [("X", "the cats", 0, 8), ("X", "sat ,", 9, 13)]);
        let got = tag(Aggregation::Simple, [0, 3, 2, 0, 0, 0], [4.0; 6]);
        assert_eq!(brief(&got), [("Y", "cat", 4, 7), ("X", "##s", 7, 8)]);
    }

    #[test]
    fn words_agree_on_a_label() {
        // cat: B-X at 3, ##s: B-Y at 5.
        let (best, sureness) = ([0, 1, 3, 0, 0, 0], [9.0, 3.0, 5.0, 9.0, 9.0, 9.0]);
        assert_eq!(brief(&tag(Aggregation::First, best, sureness)), [("X", "cats", 4, 8)]);
        assert_eq!(brief(&tag(Aggregation::Max, best, sureness)), [("Y", "cats", 4, 8)]);
        let average = tag(Aggregation::Average, best, sureness);
        assert_eq!(brief(&average), [("Y", "cats", 4, 8)]);
        let (p, q) = (5f32.exp() / (5f32.exp() + 3.0), 1.0 / (3f32.exp() + 3.0));
        assert!((average[0].score - (p + q) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn without_marks_spaces_decide() {
        let tokenizer = byte_level();
        let aggregation = Aggregation::First;
        let tagger = Tagger {
            tokenizer: &tokenizer,
            labels: labels(),
            aggregation,
            ignore: vec![],
            truncate: None,
        };
        let text = "ab c".to_owned();
        let encoding = &tagger.prepare(&text).unwrap()[0];
        // b is not heard: its word begins with a. The space is a word to itself, as in transformers.
        let logits = [1., 0., 0., 0., 0., 0., 0., 9., 0., 9., 0., 0., 0., 0., 0., 0.];
        let got = tagger.entities(&text, encoding, View { values: &logits, width: 4 }).unwrap();
        assert_eq!(
            got.iter().map(|e| e.entity_group.as_deref().unwrap()).collect::<Vec<_>>(),
            ["O", "X", "O"]
        );
    }

    #[test]
    fn a_label_may_hold_hyphens() {
        assert_eq!(split_tag("B-A-C"), (true, "A-C"));
        assert_eq!(split_tag("NOUN"), (false, "NOUN"));
        assert!("best".parse::<Aggregation>().unwrap_err().to_string().contains("average"));
    }
}
