//! `generate`: texts or ids in, texts or JSON lines out.

mod stream;

use super::progress::Progress;
use crate::{
    cli::{GenerateArgs, Global},
    failure::{Failure, Result},
    load,
    output::Output,
    records::{Place, Record, Records},
    schedule::{self, Limits},
};
use seq2seq_models::{
    Generated, Model, Prompt, Tokenizer,
    generate::{ConfigLayers, Context, Plan, Sink, TokenBytes},
};
use serde::{Deserialize, Serialize};
use std::{cell::Cell, io::IsTerminal};
use stream::Streaming;

/// A line of input.
#[derive(Debug, Deserialize)]
struct Line {
    text: Option<String>,
    input_ids: Option<Vec<u32>>,
    decoder_input_ids: Option<Vec<u32>>,
}

/// A line of output.
#[derive(Debug, Serialize)]
struct Row<'a> {
    row: usize,
    sequence: usize,
    ids: &'a [u32],
    /// Null where the model has no tokenizer.
    text: Option<String>,
    score: f32,
}

/// A prompt and where it came from.
struct Piece {
    row: usize,
    place: Place,
    prompt: Prompt,
    /// Tokens that it counts for in a batch.
    cost: usize,
}

pub(super) fn run(global: &Global, args: GenerateArgs) -> Result<()> {
    let model = load::model(global)?;
    let tokenizer = model
        .files()
        .contains("tokenizer.json")
        .then(|| Tokenizer::from_files(model.files()))
        .transpose()?;
    let layers = model.decoding().with_json(&args.decoding.to_json())?;
    let bytes = |id| tokenizer.as_ref().map(|t| t.token_bytes(id)).unwrap_or_default();
    let token_bytes: Option<&TokenBytes<'_>> =
        if tokenizer.is_some() { Some(&bytes) } else { None };
    let context = Context { token_bytes, ..model.context()? };
    let generator = Generator { model: &model, tokenizer: tokenizer.as_ref(), layers, context };
    // Settings that make no sense are found before any input is read.
    generator.plan(&[])?;
    for notice in generator.layers.notices() {
        tracing::warn!("{notice}");
    }
    let as_json = args.json || args.streams.input.is_some() || args.streams.output.is_some();
    let given = args.texts.into_iter().map(|text| Line {
        text: Some(text),
        input_ids: None,
        decoder_input_ids: None,
    });
    let records = Records::open(given.collect(), args.streams.input.as_deref())?;
    let output = Output::open(args.streams.output.as_deref())?;
    let limits = Limits { tokens: args.batch_tokens.get() };
    match as_json {
        true => generator.lines(records, output, limits),
        false => generator.texts(records, output, limits),
    }
}

/// A model with settled decoding.
struct Generator<'a> {
    model: &'a Model,
    tokenizer: Option<&'a Tokenizer>,
    layers: ConfigLayers,
    context: Context<'a>,
}

impl Generator<'_> {
    /// JSON lines, all sequences of a row together.
    fn lines(&self, mut records: Records<Line>, mut output: Output, limits: Limits) -> Result<()> {
        let from_file = matches!(records, Records::Lines(_));
        let progress = Progress::new(records.progress(), from_file);
        let read = Cell::new(None);
        let work = std::iter::from_fn(|| {
            let record = records.next()?;
            read.set(records.progress());
            Some(record.and_then(|r| self.prepare(r)))
        });
        let write = |done: Vec<(Piece, Vec<Generated>)>| {
            for (piece, sequences) in &done {
                for (sequence, generated) in sequences.iter().enumerate() {
                    let text =
                        self.tokenizer.map(|t| t.decode(&generated.ids, true)).transpose()?;
                    let (row, ids, score) = (piece.row, &generated.ids[..], generated.score);
                    output.json(&Row { row, sequence, ids, text, score })?;
                }
                progress.update(piece.row + 1, read.get());
            }
            output.flush()
        };
        schedule::run(work, limits, |p| p.cost, |pieces| self.batch(pieces, &mut ()), write)?;
        output.finish()
    }

    /// Texts, one a line. They appear as they come where somebody watches and there is one text at a time to come.
    fn texts(&self, records: Records<Line>, mut output: Output, limits: Limits) -> Result<()> {
        let tokenizer = self.tokenizer()?;
        let config = self.layers.config();
        let single =
            config.num_beams.unwrap_or(1) == 1 && config.num_return_sequences.unwrap_or(1) == 1;
        let pieces = records.map(|r| self.prepare(r?)).collect::<Result<Vec<_>>>()?;
        if single && (pieces.len() == 1 || std::io::stdout().is_terminal()) {
            for piece in &pieces {
                let mut sink = Streaming::new(tokenizer, &mut output);
                self.batch(&[piece], &mut sink)?;
                sink.finish()?;
            }
            return output.finish();
        }
        let write = |done: Vec<(Piece, Vec<Generated>)>| {
            for generated in done.iter().flat_map(|(_, sequences)| sequences) {
                output.text(&tokenizer.decode(&generated.ids, true)?)?;
                output.text("\n")?;
            }
            output.flush()
        };
        schedule::run(
            pieces.into_iter().map(Ok),
            limits,
            |p| p.cost,
            |p| self.batch(p, &mut ()),
            write,
        )?;
        output.finish()
    }

    fn tokenizer(&self) -> Result<&Tokenizer> {
        // Reading it anew gives the error that says what is missing.
        self.tokenizer.map_or_else(|| Err(missing_tokenizer(self.model)), Ok)
    }

    /// Checks a line by itself, so that what is wrong with it is not found out in a batch.
    fn prepare(&self, record: Record<Line>) -> Result<Piece> {
        let Record { row, place, value } = record;
        let prompt = self.prompt(value).map_err(|e| e.at(&place))?;
        let plan = self.plan(std::slice::from_ref(&prompt)).map_err(|e| e.in_row(&[&place]))?;
        let source = prompt.input_ids.len();
        let cost = source + plan.capacity() * plan.hypotheses();
        Ok(Piece { row, place, prompt, cost })
    }

    fn prompt(&self, line: Line) -> Result<Prompt> {
        let input_ids = match (line.text, line.input_ids) {
            (Some(text), None) => self.tokenizer()?.encode(&text)?.ids().to_vec(),
            (None, Some(ids)) => ids,
            (Some(_), Some(_)) => {
                return Err(Failure::input("has both `text` and `input_ids`; give one"));
            }
            (None, None) => return Err(Failure::input("has neither `text` nor `input_ids`")),
        };
        if self.context.encoder_decoder && input_ids.is_empty() {
            return Err(Failure::input("there are no tokens for the encoder to read"));
        }
        self.check_ids(&input_ids)?;
        Ok(Prompt { input_ids, decoder_input_ids: line.decoder_input_ids })
    }

    /// Ids within the vocabulary that they are read by, and no more of them than there are positions.
    fn check_ids(&self, ids: &[u32]) -> Result<()> {
        let plan = self.model.plan();
        let Some(stack) = plan.encoder.as_ref().or(plan.decoder.as_ref()) else { return Ok(()) };
        let vocab = stack.embedding.vocab;
        if let Some((at, id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab) {
            return Err(Failure::input(format!(
                "id {id} at position {at} is outside the vocabulary of {vocab}"
            )));
        }
        match stack.max_positions() {
            Some(limit) if ids.len() > limit => Err(Failure::input(format!(
                "{} tokens are more than the {limit} that the model can read",
                ids.len()
            ))),
            _ => Ok(()),
        }
    }

    fn plan(&self, prompts: &[Prompt]) -> Result<Plan<'_>> {
        Ok(Plan::new(&self.layers, &self.context, prompts)?)
    }

    fn batch(&self, pieces: &[&Piece], sink: &mut dyn Sink) -> Result<Vec<Vec<Generated>>> {
        let prompts: Vec<Prompt> = pieces.iter().map(|p| p.prompt.clone()).collect();
        let rows: Vec<u64> = pieces.iter().map(|p| p.row as u64).collect();
        let plan = self.plan(&prompts)?.numbered(&rows)?;
        let places: Vec<&Place> = pieces.iter().map(|p| &p.place).collect();
        self.model.run(&plan, &prompts, sink).map_err(|e| Failure::from(e).in_row(&places))
    }
}

fn missing_tokenizer(model: &Model) -> Failure {
    match Tokenizer::from_files(model.files()) {
        Err(e) => e.into(),
        Ok(_) => Failure::Other("the tokenizer appeared only now".into()),
    }
}
