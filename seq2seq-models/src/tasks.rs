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
