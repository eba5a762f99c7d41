//! `generate`: texts or ids in, texts or JSON lines out.

mod attention;
pub(super) mod losses;
pub(super) mod prompts;
mod stream;

use super::progress::Progress;
use crate::{
    cli::{GenerateArgs, Global},
    failure::{Failure, Result},
    load,
    output::{self, Output},
    records::{Place, Records},
    schedule::{self, Limits},
};
use attention::Attention;
use losses::Losses;
use prompts::{Line, Piece, Reader};
use seq2seq_models::{
    Generated, Model, Prompt, Tokenizer,
    generate::{ConfigLayers, Context, Plan, Sink, TokenBytes},
};
use serde::Serialize;
use std::{cell::Cell, io::IsTerminal};
use stream::Streaming;

/// A line of output.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    pub(super) row: usize,
    pub(super) sequence: usize,
    pub(super) ids: &'a [u32],
    /// Null where the model has no tokenizer.
    pub(super) text: Option<String>,
    pub(super) score: f32,
}

pub(super) fn run(global: &Global, args: GenerateArgs) -> Result<()> {
    let attention = args.attention.as_deref();
    if attention.is_some() && output::is_same(attention, args.streams.output.as_deref()) {
        return Err(Failure::input(
            "--attention and the results go to one place; give each its own",
        ));
    }
    let traced = attention.is_some().then(|| load::traced(global)).transpose()?;
    let model = match &traced {
        Some(traced) => traced.model().clone(),
        None => load::model(global)?,
    };
    let files = model.files();
    let tokenizer = Tokenizer::find(files)?;
    let bytes = |id| tokenizer.as_ref().map(|t| t.token_bytes(id)).unwrap_or_default();
    let token_bytes: Option<&TokenBytes<'_>> =
        if tokenizer.is_some() { Some(&bytes) } else { None };
    let generator = Generator {
        model: &model,
        tokenizer: tokenizer.as_ref(),
        layers: model.decoding().with_fields(&args.decoding)?,
        context: Context { token_bytes, ..model.context()? },
        limits: Limits { tokens: args.batch_tokens.get() },
        attention: traced.as_ref().map(|traced| Attention::new(traced, tokenizer.as_ref())),
    };
    for notice in generator.layers.notices() {
        tracing::warn!("{notice}");
    }
    let streams = &args.streams;
    let records = Records::open(
        args.texts.into_iter().map(Line::of_text).collect(),
        streams.input.as_deref(),
    )?;
    let output = Output::open(streams.output.as_deref())?;
    // At once, so that what cannot be written fails before any work.
    let page = attention.map(|path| Output::open(Some(path))).transpose()?;
    if args.json || streams.input.is_some() || streams.output.is_some() {
        let progress = Progress::new(records.progress(), streams);
        generator.lines(records, output, &progress)?;
    } else {
        generator.texts(records, output)?;
    }
    match (generator.attention, page) {
        (Some(attention), Some(page)) => attention.write(page),
        _ => Ok(()),
    }
}

/// A model with settled decoding.
struct Generator<'a> {
    model: &'a Model,
    tokenizer: Option<&'a Tokenizer>,
    layers: ConfigLayers,
    context: Context<'a>,
    limits: Limits,
    /// Where what is shown of the results is kept.
    attention: Option<Attention<'a>>,
}

impl Generator<'_> {
    /// JSON lines, all sequences of a row together.
    fn lines(
        &self,
        mut records: Records<Line>,
        mut output: Output,
        progress: &Progress,
    ) -> Result<()> {
        let reader = self.reader()?;
        let read = Cell::new(None);
        let work = std::iter::from_fn(|| {
            let record = records.next()?;
            read.set(records.progress());
            Some(record.and_then(|r| reader.piece(r)))
        });
        let write = |done: Vec<(Piece, Vec<Generated>)>| {
            for (piece, sequences) in &done {
                for (sequence, generated) in sequences.iter().enumerate() {
                    let Generated { ids, score, .. } = generated;
                    let text = self.tokenizer.map(|t| t.decode(ids, true)).transpose()?;
                    output.json(&Row { row: piece.row, sequence, ids, text, score: *score })?;
                }
                progress.update(piece.row + 1, read.get());
            }
            output.flush()
        };
        schedule::run(work, self.limits, |p| p.cost, |p| self.batch(p, &mut ()), write)?;
        output.finish()
    }

    /// Texts, one a line. They appear as they come where there is one, or where somebody watches.
    fn texts(&self, records: Records<Line>, mut output: Output) -> Result<()> {
        let reader = self.reader()?;
        let tokenizer = load::required(self.tokenizer, self.model)?;
        let pieces = records.map(|r| reader.piece(r?)).collect::<Result<Vec<_>>>()?;
        if self.streams() && (pieces.len() == 1 || std::io::stdout().is_terminal()) {
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
        let work = pieces.into_iter().map(Ok);
        schedule::run(work, self.limits, |p| p.cost, |p| self.batch(p, &mut ()), write)?;
        output.finish()
    }

    /// Whether ids are certain as soon as they come, and nobody wants more than them: beam search changes its mind.
    fn streams(&self) -> bool {
        let config = self.layers.config();
        self.attention.is_none()
            && config.num_beams.unwrap_or(1) == 1
            && config.num_return_sequences.unwrap_or(1) == 1
    }

    fn reader(&self) -> Result<Reader<'_>> {
        // Settings that make no sense are found here, before any input is read. What a text costs is what one of a
        // single token costs and its length.
        let probe = Prompt::new(vec![0]);
        let plan = self.plan(&[probe]).map_err(|e| e.in_row(&["settings"]))?;
        Ok(Reader {
            model: self.model,
            tokenizer: self.tokenizer,
            hypotheses: plan.hypotheses(),
            positions: plan.capacity(),
        })
    }

    fn plan(&self, prompts: &[Prompt]) -> Result<Plan<'_>> {
        Ok(Plan::new(&self.layers, &self.context, prompts)?)
    }

    fn batch(&self, pieces: &[&Piece], sink: &mut dyn Sink) -> Result<Vec<Vec<Generated>>> {
        let prompts: Vec<Prompt> = pieces.iter().map(|p| p.prompt.clone()).collect();
        let rows: Vec<u64> = pieces.iter().map(|p| p.row as u64).collect();
        let places: Vec<&Place> = pieces.iter().map(|p| &p.place).collect();
        let run = |sink: &mut dyn Sink| {
            let plan = self.plan(&prompts)?.numbered(&rows)?;
            let Some(attention) = &self.attention else {
                return Ok(self.model.run(&plan, sink)?);
            };
            let plan = attention.asked_of(plan);
            let mut losses = Losses::default();
            let generated = self.model.run(&plan, &mut losses)?;
            let histories: Vec<Vec<u32>> = plan.histories().map(<[u32]>::to_vec).collect();
            attention.add(pieces, &histories, &generated, &losses)?;
            Ok(generated)
        };
        run(sink).map_err(|e: Failure| e.in_row(&places))
    }
}
