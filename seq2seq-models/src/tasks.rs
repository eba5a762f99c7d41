//! Encoder tasks: from texts to sequences of ids, and from a head's output to what it says about the text.
//!
//! Every task follows the pipeline of its name in transformers. [`Task`] divides it into what comes before the model
//! ([`Task::prepare`]) and after it ([`Task::finish`]), both plain functions; the caller is free in how it batches
//! what lies between. [`run`] does all three for a few inputs:
//!
//! ```
//! use seq2seq_models::{LoadOptions, Model, Tokenizer, tasks};
//!
//! # let folder = "../fixtures/sentence_mean";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let tokenizer = Tokenizer::from_files(model.files())?;
//! let embedder = tasks::Embedder::new(model.files(), &tokenizer, model.max_positions())?;
//! let vectors = tasks::run(&model, &embedder, &["a sentence".into(), "another".into()])?;
//! assert_eq!(vectors.len(), 2);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! # Many texts
//!
//! [`Passes`] bounds what is computed at once:
//!
//! ```
//! use seq2seq_models::{Encoding, LoadOptions, Model, Tokenizer, tasks::{Embedder, Passes, Seen, Task}};
//!
//! # let folder = "../fixtures/sentence_mean";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let tokenizer = Tokenizer::from_files(model.files())?;
//! let embedder = Embedder::new(model.files(), &tokenizer, model.max_positions())?;
//!
//! let texts: Vec<String> = (0..50).map(|i| format!("the cat sat on house {i}")).collect();
//! let encodings = texts.iter().map(|text| embedder.prepare(text)).collect::<Result<Vec<_>, _>>()?;
//! let sequences: Vec<&Encoding> = encodings.iter().flatten().collect(); // one a text, for this task
//! let passes = Passes::run(&model, &sequences, 128)?; // at most 128 tokens at a time
//! let finish = |(text, seen): (&String, Seen<'_>)| embedder.finish(text, &[seen]);
//! let vectors = texts.iter().zip(passes.seen(&sequences)).map(finish).collect::<Result<Vec<_>, _>>()?;
//!
//! let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
//! assert!((dot(&vectors[7], &vectors[7]) - 1.0).abs() < 1e-5); // this model's are of length 1
//! assert!(dot(&vectors[7], &vectors[8]) < 1.0);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! # Classes of texts and pairs
//!
//! ```
//! use seq2seq_models::{
//!     LoadOptions, Model, Tokenizer,
//!     tasks::{self, Classification, Classifier, Labels, ProblemType, TextPair},
//! };
//!
//! # let folder = "../fixtures/bert_sequence_classification";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let tokenizer = Tokenizer::from_files(model.files())?;
//! let labels = Labels::from_files(model.files())?;
//! assert_eq!(labels.names(), ["dull", "fine", "grand"]);
//! // One of them holds, so scores are probabilities that come to 1.
//! assert_eq!(labels.problem(), ProblemType::SingleLabelClassification);
//! let classifier = Classifier { top_k: labels.names().len(), ..Classifier::new(&tokenizer, labels) };
//!
//! let pair = TextPair { text: "The blue cat sat.".into(), pair: Some("Anna ran to Paris.".into()) };
//! for scores in tasks::run(&model, &classifier, &["cat".into(), pair])? {
//!     let Classification { label, score, .. } = &scores[0];
//!     println!("{label} {score:.2}, as JSON {}", serde_json::to_string(&scores)?);
//!     assert!((scores.iter().map(|label| label.score).sum::<f32>() - 1.0).abs() < 1e-5);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Entities
//!
//! ```
//! use seq2seq_models::{
//!     LoadOptions, Model, Tokenizer,
//!     tasks::{self, Aggregation, Entity, Labels, Tagger},
//! };
//!
//! # let folder = "../fixtures/bert_token_classification";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let tokenizer = Tokenizer::from_files(model.files())?;
//! let labels = Labels::from_files(model.files())?;
//! let text = "Où est la café? It's 42 dogs!";
//! // Words rather than pieces of them.
//! let tagger = Tagger { aggregation: Aggregation::First, ..Tagger::new(&tokenizer, labels) };
//! let entities = &tasks::run(&model, &tagger, &[text.into()])?[0];
//! let spelt = |entity: &Entity| -> String {
//!     // `word` is what tokens spell, here without accents. Places count characters, not bytes.
//!     text.chars().skip(entity.start).take(entity.end - entity.start).collect()
//! };
//! let found = entities.iter().find(|entity| entity.word == "cafe").ok_or("no such entity")?;
//! assert_eq!(spelt(found), "café");
//! assert_eq!(found.entity_group.as_deref(), Some("PER")); // of a tiny model that has learned nothing
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Answers
//!
//! ```
//! use seq2seq_models::{
//!     LoadOptions, Model, Tokenizer,
//!     tasks::{self, Answer, AnswerOptions, Answering, Question},
//! };
//!
//! # let folder = "../fixtures/bert_question_answering";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let tokenizer = Tokenizer::from_files(model.files())?;
//! let answering = Answering {
//!     options: AnswerOptions { top_k: 2, max_answer_len: 4, handle_impossible: true, ..AnswerOptions::default() },
//!     ..Answering::new(&tokenizer, model.max_positions())
//! };
//! let question = Question { question: "Who ran?".into(), context: "Anna and the dog ran.".into() };
//! let answers = &tasks::run(&model, &answering, std::slice::from_ref(&question))?[0];
//! for Answer { answer, score, start, end, .. } in answers {
//!     match answer.is_empty() {
//!         true => println!("no answer {score:.2}"),
//!         false => println!("{answer} {score:.2}, characters {start} to {end}"),
//!     }
//! }
//! assert_eq!((answers.len(), &answers[0].answer[..]), (2, "Anna and"));
//! assert!(answers.iter().all(|answer| question.context.contains(&answer.answer)));
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! # Masks
//!
//! ```
//! use seq2seq_models::{LoadOptions, Model, Tokenizer, tasks::{self, Fill, MaskFiller}};
//!
//! # let folder = "../fixtures/bert_masked_lm";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let tokenizer = Tokenizer::from_files(model.files())?;
//! let filler = MaskFiller::new(&tokenizer, 2)?;
//! let masks = &tasks::run(&model, &filler, &["the [MASK] cat is [MASK]!".into()])?[0];
//! // The two best of each; the other mask stays.
//! let best: Vec<&Fill> = masks.iter().map(|fills| &fills[0]).collect();
//! assert_eq!((masks.len(), masks[0].len()), (2, 2));
//! assert_eq!(best[0].sequence, "[CLS] thep cat is [MASK]! [SEP]");
//! assert_eq!(tokenizer.token_to_id(&best[1].token_str), Some(best[1].token));
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! # A task of one's own
//!
//! ```
//! use seq2seq_models::{
//!     Encoding, LoadOptions, Model, Result, Tokenizer,
//!     tasks::{self, Pooling, PoolingMode, Seen, Task, View},
//! };
//!
//! /// How like each other two texts are: the cosine between their pooled rows.
//! struct Likeness<'a> {
//!     tokenizer: &'a Tokenizer,
//!     pooling: Pooling,
//! }
//!
//! impl Task for Likeness<'_> {
//!     type Input = [String; 2];
//!     type Output = f32;
//!
//!     fn prepare(&self, texts: &[String; 2]) -> Result<Vec<Encoding>> {
//!         texts.iter().map(|text| self.tokenizer.encode(text)).collect()
//!     }
//!
//!     fn finish(&self, _: &[String; 2], seen: &[Seen<'_>]) -> Result<f32> {
//!         let pooled = |seen: &Seen<'_>| {
//!             let rows: View<'_> = seen.output("last_hidden_state")?; // [tokens, M]
//!             self.pooling.apply(rows)
//!         };
//!         let (a, b) = (pooled(&seen[0])?, pooled(&seen[1])?);
//!         let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
//!         Ok(dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt())
//!     }
//! }
//!
//! # let folder = "../fixtures/bert";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let tokenizer = Tokenizer::from_files(model.files())?;
//! let likeness =
//!     Likeness { tokenizer: &tokenizer, pooling: Pooling(vec![PoolingMode::Mean, PoolingMode::Max]) };
//! let pair = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
//! let found = tasks::run(&model, &likeness, &[pair("the cat", "the cat"), pair("the cat", "a river")])?;
//! assert!((found[0] - 1.0).abs() < 1e-6 && found[1] < 1.0);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```

mod answer;
mod classify;
mod embed;
mod fill_mask;
mod labels;
mod pooling;
mod tag;

pub use answer::{Answer, AnswerOptions, Answering, Question};
pub use classify::{Classification, Classifier, TextPair};
pub use embed::Embedder;
pub use fill_mask::{Fill, MaskFiller};
pub use labels::{Labels, ProblemType};
pub use pooling::{Pooling, PoolingMode};
pub use tag::{Aggregation, Entity, Tagger};

use crate::{Encoding, Error, Forward, ForwardOutput, Model, Result, plan::DecoderInput};

/// What a task does around the model.
pub trait Task {
    /// One item of work, such as a text.
    type Input;
    /// What is found out about it.
    type Output;

    /// The sequences that the model has to see, at least one.
    ///
    /// # Errors
    /// For an input that comes to no such sequences, such as a text that is too long.
    fn prepare(&self, input: &Self::Input) -> Result<Vec<Encoding>>;

    /// The result, from the model's outputs for the sequences of [`prepare`](Self::prepare), in their order.
    ///
    /// # Errors
    /// Where the outputs are not those of the head that the task needs.
    fn finish(&self, input: &Self::Input, seen: &[Seen<'_>]) -> Result<Self::Output>;
}

/// One sequence and what the model gave for it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The sequence.
    pub encoding: &'a Encoding,
    /// The outputs of the batch that it was part of.
    pub outputs: &'a [ForwardOutput],
    /// Its place in that batch.
    pub index: usize,
}

/// Some rows of one output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View<'a> {
    /// Row-major values.
    pub values: &'a [f32],
    /// Columns.
    pub width: usize,
}

impl<'a> View<'a> {
    /// The rows in order.
    pub fn rows(&self) -> std::slice::ChunksExact<'a, f32> {
        self.values.chunks_exact(self.width.max(1))
    }
}

impl<'a> Seen<'a> {
    /// The rows of output `name` that belong to this sequence.
    ///
    /// # Errors
    /// When the model has no such output: it lacks the head that the task needs.
    pub fn output(&self, name: &str) -> Result<View<'a>> {
        let output = self.outputs.iter().find(|o| o.name == name).ok_or_else(|| {
            let names: Vec<_> = self.outputs.iter().map(|o| o.name).collect();
            Error::Input(format!(
                "this model gives {}, not {name}: its checkpoint lacks the head for this task",
                names.join(", ")
            ))
        })?;
        let before: usize = output.rows[..self.index].iter().sum();
        let rows = output.rows[self.index];
        let values = &output.values[before * output.width..(before + rows) * output.width];
        Ok(View { values, width: output.width })
    }
}

/// Does `task` on all inputs in one batch.
///
/// # Errors
/// Those of the task and of the model; a model that lacks the head for the task.
pub fn run<T: Task>(model: &Model, task: &T, inputs: &[T::Input]) -> Result<Vec<T::Output>> {
    let encodings = inputs.iter().map(|i| task.prepare(i)).collect::<Result<Vec<_>>>()?;
    let all: Vec<&Encoding> = encodings.iter().flatten().collect();
    let passes = Passes::run(model, &all, usize::MAX)?;
    let mut seen = passes.seen(&all);
    inputs
        .iter()
        .zip(&encodings)
        .map(|(input, own)| task.finish(input, &seen.by_ref().take(own.len()).collect::<Vec<_>>()))
        .collect()
}

/// What a model gave for some sequences, in one pass or in several.
#[derive(Debug)]
pub struct Passes(Vec<(Vec<ForwardOutput>, usize)>);

impl Passes {
    /// Takes the sequences through the model, at most `tokens` tokens at a time (or one sequence, where it is longer).
    ///
    /// # Errors
    /// Those of [`Model::forward`].
    pub fn run(model: &Model, sequences: &[&Encoding], tokens: usize) -> Result<Self> {
        let mut passes = Vec::new();
        let mut rest = sequences;
        while !rest.is_empty() {
            let mut room = tokens;
            let fits = |e: &&&Encoding| match room.checked_sub(e.len()) {
                Some(left) => {
                    room = left;
                    true
                }
                None => false,
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            passes.push((model.forward(&request(model, now)?)?, count));
            rest = later;
        }
        Ok(Self(passes))
    }

    /// Each of the sequences with its outputs, in their order.
    pub fn seen<'a>(&'a self, sequences: &'a [&'a Encoding]) -> impl Iterator<Item = Seen<'a>> {
        let outputs = self.0.iter().flat_map(|(outputs, n)| (0..*n).map(move |i| (outputs, i)));
        outputs.zip(sequences).map(|((outputs, index), encoding)| Seen { encoding, outputs, index })
    }
}

/// Sequences as the model takes them. Tokenizers tell the texts of a pair apart even for models that do not. Fails where a decoder
/// would have to be given something else.
fn request(model: &Model, sequences: &[&Encoding]) -> Result<Forward> {
    if model.plan().is_encoder_decoder() && model.plan().decoder_input == DecoderInput::Given {
        let family = model.family();
        let advice = match family.encoder_architecture() {
            Some(name) => format!(
                "load its encoder alone (`LoadOptions::architecture`, --architecture {name})"
            ),
            None => "take a model that is an encoder".into(),
        };
        let reason = "has a decoder, for which a text to embed or classify gives no input";
        return Err(Error::Input(format!("this {family} model {reason}; {advice}")));
    }
    let kinds = model.plan().encoder.as_ref().map_or(0, |e| e.embedding.types);
    let types = || sequences.iter().map(|e| e.type_ids().to_vec()).collect();
    Ok(Forward {
        input_ids: sequences.iter().map(|e| e.ids().to_vec()).collect(),
        token_type_ids: (kinds > 1).then(types),
        decoder_input_ids: None,
    })
}

/// e^x / Σ e^x. Not finite where a logit is not.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut out: Vec<f32> = logits.iter().map(|x| (x - max).exp()).collect();
    let sum: f32 = out.iter().sum();
    out.iter_mut().for_each(|p| *p /= sum);
    out
}

/// The place of the largest score, the first of equals. NaN is never larger.
fn argmax(scores: &[f32]) -> usize {
    scores.iter().enumerate().fold(0, |best, (i, x)| if *x > scores[best] { i } else { best })
}

/// The places of the `k` largest scores, best first, equal ones in order.
fn largest(scores: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let better = |&a: &usize, &b: &usize| scores[b].total_cmp(&scores[a]).then(a.cmp(&b));
    if k < order.len() {
        order.select_nth_unstable_by(k, better);
        order.truncate(k);
    }
    order.sort_unstable_by(better);
    order
}

/// Fails on numbers that no probability can be made of.
fn finite(what: &str, values: &[f32]) -> Result<()> {
    match values.iter().find(|x| !x.is_finite()) {
        None => Ok(()),
        Some(x) => Err(Error::Input(format!(
            "the model's {what} contain {x}: its weights are damaged or overflow in this format"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_and_order() {
        let p = softmax(&[1.0, 3.0, 1.0]);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6 && p[0] == p[2]);
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(largest(&[0.1, 0.5, 0.1, 0.7], 3), [3, 1, 0]);
        assert_eq!(largest(&[0.1, 0.5], 9), [1, 0]);
        assert!(finite("logits", &[0.0, f32::NAN]).is_err());
    }
}
