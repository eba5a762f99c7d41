//! The encoder tasks: texts in, JSON lines out.

use super::progress::Progress;
use crate::{
    cli::{AnswerArgs, ClassifyArgs, EmbedArgs, FillMaskArgs, Global, TagArgs, TaskArgs},
    failure::{Failure, Result},
    load,
    output::Output,
    records::{Place, Record, Records},
    schedule::{self, Limits},
};
use seq2seq_models::{
    Encoding, Model, Tokenizer,
    tasks::{
        AnswerOptions, Answering, Classifier, Embedder, Labels, MaskFiller, Passes, Question,
        Tagger, Task, TextPair,
    },
};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned, ser::SerializeMap};
use std::cell::Cell;

/// A line with a text.
#[derive(Debug, Deserialize)]
struct Text {
    text: String,
}

#[derive(Debug, Deserialize)]
struct Pair {
    text: String,
    text_pair: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    question: String,
    context: String,
}

impl From<Text> for String {
    fn from(line: Text) -> Self {
        line.text
    }
}

impl From<Pair> for TextPair {
    fn from(line: Pair) -> Self {
        Self { text: line.text, pair: line.text_pair }
    }
}

impl From<Asked> for Question {
    fn from(line: Asked) -> Self {
        Self { question: line.question, context: line.context }
    }
}

pub(super) fn embed(global: &Global, args: EmbedArgs) -> Result<()> {
    let (model, tokenizer) = needs_model(global)?;
    let task = Embedder::new(model.files(), &tokenizer, load::max_input(&model))?;
    Run { model: &model, task: &task, field: "embedding" }.all(texts(args.texts), &args.task)
}

pub(super) fn classify(global: &Global, args: ClassifyArgs) -> Result<()> {
    let (model, tokenizer) = needs_model(global)?;
    let task = Classifier {
        tokenizer: &tokenizer,
        labels: Labels::from_files(model.files())?,
        top_k: args.top_k.get(),
        truncate: load::max_input(&model).filter(|_| args.truncate),
    };
    let given = args.texts.into_iter().map(|text| Pair { text, text_pair: None }).collect();
    Run { model: &model, task: &task, field: "labels" }.all(given, &args.task)
}

pub(super) fn tag(global: &Global, args: TagArgs) -> Result<()> {
    let (model, tokenizer) = needs_model(global)?;
    let task = Tagger {
        tokenizer: &tokenizer,
        labels: Labels::from_files(model.files())?,
        aggregation: args.aggregation,
        ignore: args.ignore_labels,
        truncate: load::max_input(&model).filter(|_| args.truncate),
    };
    Run { model: &model, task: &task, field: "entities" }.all(texts(args.texts), &args.task)
}

pub(super) fn answer(global: &Global, args: AnswerArgs) -> Result<()> {
    let (model, tokenizer) = needs_model(global)?;
    let options = AnswerOptions {
        top_k: args.top_k.get(),
        max_answer_len: args.max_answer_len.get(),
        max_seq_len: args.max_seq_len.get(),
        doc_stride: args.doc_stride,
        handle_impossible: args.handle_impossible_answer,
    };
    let task = Answering { tokenizer: &tokenizer, options, positions: load::max_input(&model) };
    let given =
        args.question.zip(args.context).map(|(question, context)| Asked { question, context });
    Run { model: &model, task: &task, field: "answers" }
        .all(given.into_iter().collect(), &args.task)
}

pub(super) fn fill_mask(global: &Global, args: FillMaskArgs) -> Result<()> {
    let (model, tokenizer) = needs_model(global)?;
    let task = MaskFiller::new(&tokenizer, args.top_k.get())?;
    Run { model: &model, task: &task, field: "masks" }.all(texts(args.texts), &args.task)
}

fn texts(texts: Vec<String>) -> Vec<Text> {
    texts.into_iter().map(|text| Text { text }).collect()
}

/// The model inside the program writes text; the tasks need one that was made for them.
fn needs_model(global: &Global) -> Result<(Model, Tokenizer)> {
    if global.model.is_none() {
        return Err(Failure::input(
            "--model DIR|HUB_ID is missing: the model inside the program only writes text",
        ));
    }
    load::with_tokenizer(global)
}

/// A task on a model.
struct Run<'a, T> {
    model: &'a Model,
    task: &'a T,
    /// What the result is called in a line.
    field: &'static str,
}

/// A line of output: `{"row": …, FIELD: …}`.
struct Line<'a, R> {
    row: usize,
    field: &'static str,
    result: &'a R,
}

impl<R: Serialize> Serialize for Line<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("row", &self.row)?;
        map.serialize_entry(self.field, self.result)?;
        map.end()
    }
}

/// One input with what the model has to see for it.
struct Piece<I> {
    row: usize,
    place: Place,
    input: I,
    encodings: Vec<Encoding>,
}

impl<T: Task<Output: Serialize>> Run<'_, T> {
    /// Reads everything, does it in batches, writes results in order.
    fn all<L: DeserializeOwned + Into<T::Input>>(
        &self,
        given: Vec<L>,
        args: &TaskArgs,
    ) -> Result<()> {
        let mut records = Records::open(given, args.streams.input.as_deref())?;
        let mut output = Output::open(args.streams.output.as_deref())?;
        let progress = Progress::new(records.progress(), &args.streams);
        let limits = Limits { tokens: args.batch_tokens.get() };
        let read = Cell::new(None);
        let work = std::iter::from_fn(|| {
            let record = records.next()?;
            read.set(records.progress());
            Some(record.and_then(|r: Record<L>| self.prepare(r)))
        });
        let cost = |piece: &Piece<T::Input>| piece.encodings.iter().map(Encoding::len).sum();
        let write = |done: Vec<(Piece<T::Input>, T::Output)>| {
            for (piece, result) in &done {
                output.json(&Line { row: piece.row, field: self.field, result })?;
                progress.update(piece.row + 1, read.get());
            }
            output.flush()
        };
        schedule::run(work, limits, cost, |pieces| self.batch(pieces, limits.tokens), write)?;
        output.finish()
    }

    fn prepare<L: Into<T::Input>>(&self, record: Record<L>) -> Result<Piece<T::Input>> {
        let Record { row, place, value } = record;
        let input = value.into();
        let encodings = self.task.prepare(&input).map_err(|e| Failure::from(e).at(&place))?;
        for tokens in encodings.iter().map(Encoding::len) {
            if tokens == 0 {
                return Err(Failure::input(format!("{place}: the text has no tokens")));
            }
            load::check_length(self.model, tokens).map_err(|e| e.at(&place))?;
        }
        Ok(Piece { row, place, input, encodings })
    }

    /// The results of some pieces. A piece of many sequences goes through the model in parts.
    fn batch(&self, pieces: &[&Piece<T::Input>], tokens: usize) -> Result<Vec<T::Output>> {
        let all: Vec<&Encoding> = pieces.iter().flat_map(|p| &p.encodings).collect();
        let passes = Passes::run(self.model, &all, tokens)?;
        let mut seen = passes.seen(&all);
        let finish = |piece: &&Piece<T::Input>| {
            let own: Vec<_> = seen.by_ref().take(piece.encodings.len()).collect();
            self.task.finish(&piece.input, &own).map_err(|e| Failure::from(e).at(&piece.place))
        };
        pieces.iter().map(finish).collect()
    }
}
