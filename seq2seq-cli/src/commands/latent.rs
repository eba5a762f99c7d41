//! `sample` and `interpolate`: sentences from points of a latent space.

use super::generate::Row;
use crate::{
    cli::{Global, InterpolateArgs, PointsArgs, SampleArgs},
    failure::{Failure, Result},
    load,
    output::Output,
};
use seq2seq_models::{
    Model, Tokenizer,
    generate::{Context, TokenBytes, any_seed},
    model::between,
};
use serde::Serialize;

/// A line of output.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    latent: &'a [f32],
}

pub(super) fn sample(global: &Global, args: &SampleArgs) -> Result<()> {
    let (model, tokenizer) = load::with_tokenizer(global)?;
    let seed = args.points.decoding.seed().unwrap_or_else(any_seed);
    let points = model.prior(args.count.get(), seed)?;
    write(&model, &tokenizer, &points, &args.points)
}

pub(super) fn interpolate(global: &Global, args: &InterpolateArgs) -> Result<()> {
    if args.steps.get() < 2 {
        return Err(Failure::input("--steps 1: a line has two ends; give at least 2"));
    }
    let (model, tokenizer) = load::with_tokenizer(global)?;
    let mut ends = Vec::new();
    for (name, text) in [("A", &args.from), ("B", &args.to)] {
        let ids = tokenizer.encode(text)?.ids().to_vec();
        let posteriors = model.posteriors(&[ids]).map_err(|e| Failure::from(e).at(name))?;
        ends.extend(posteriors.into_iter().map(|posterior| posterior.mean));
    }
    let points = match &ends[..] {
        [from, to] => between(from, to, args.steps.get())?,
        _ => return Err(Failure::Other("a text has one posterior".into())),
    };
    write(&model, &tokenizer, &points, &args.points)
}

/// Decodes the points, some at a time, and writes their sentences in order.
fn write(
    model: &Model,
    tokenizer: &Tokenizer,
    points: &[Vec<f32>],
    args: &PointsArgs,
) -> Result<()> {
    let layers = model.decoding().with_fields(&args.decoding)?;
    for notice in layers.notices() {
        tracing::warn!("{notice}");
    }
    let bytes = |id| tokenizer.token_bytes(id);
    let token_bytes: Option<&TokenBytes<'_>> = Some(&bytes);
    let context = Context { token_bytes, ..model.context()? };
    let mut output = Output::open(args.output.as_deref())?;
    let lines = args.json || args.output.is_some();
    let batch = args.batch.get();
    for (i, some) in points.chunks(batch).enumerate() {
        let first = i * batch;
        let rows: Vec<u64> = (first..first + some.len()).map(|row| row as u64).collect();
        let plan = model.plan_at(&layers, &context, some.len())?.numbered(&rows)?;
        let written = model.run_at(&plan, some, &mut ())?;
        for ((row, latent), sequences) in (first..).zip(some).zip(&written) {
            for (sequence, generated) in sequences.iter().enumerate() {
                let text = tokenizer.decode(&generated.ids, true)?;
                if lines {
                    let (ids, score, text) = (&generated.ids[..], generated.score, Some(text));
                    let row = Row { row, sequence, ids, text, score };
                    output.json(&Line { row, latent })?;
                } else {
                    output.text(&text)?;
                    output.text("\n")?;
                }
            }
        }
        output.flush()?;
    }
    output.finish()
}
