//! `inspect --compare-formats`: how far each format is from f32, layer by layer and end to end.

use super::super::generate::prompts::{Line, Piece, Reader};
use super::describe;
use crate::{
    cli::{CompareArgs, Global},
    failure::{Failure, Result},
    load,
    output::Output,
    records::{Place, Records},
    schedule::{self, Limits},
};
use seq2seq_core::Format;
use seq2seq_models::{
    Prompt, Tokenizer,
    compare::{Comparison, FormatReport, NextToken, Report, States},
    inspect::byte_size,
};
use serde::Serialize;
use std::{cell::RefCell, path::Path};

/// Tokens of a batch: scores over the whole vocabulary are held for each of them, twice.
const BATCH_TOKENS: usize = 512;

pub(super) fn run(global: &Global, input: &Path, args: &CompareArgs, json: bool) -> Result<()> {
    let files = load::files(global)?;
    let options = load::options(global, Format::F32);
    // All, or the one that is asked for.
    let formats: Vec<Format> = match global.format {
        None => Format::ALL.into_iter().filter(|&f| f != Format::F32).collect(),
        Some(format) => vec![format],
    };
    let records = Records::<Line>::open(Vec::new(), Some(input))?;
    let new = args.max_new_tokens.get();
    let mut comparison = Comparison::load(&files, &options, &formats, new)?;
    let tokenizer = Tokenizer::find(&files)?;
    let model = comparison.model().clone();
    let positions = if model.plan().generates() { new } else { 0 };
    let reader = Reader { model: &model, tokenizer: tokenizer.as_ref(), hypotheses: 1, positions };
    let mut tokens = 0;
    let work = records.map(|record| reader.piece(record?));
    let comparison = RefCell::new(&mut comparison);
    let batch = |pieces: &[&Piece]| {
        let prompts: Vec<Prompt> = pieces.iter().map(|p| p.prompt.clone()).collect();
        let places: Vec<&Place> = pieces.iter().map(|p| &p.place).collect();
        let done = comparison.borrow_mut().add(&prompts);
        done.map_err(|e| Failure::from(e).in_row(&places))?;
        Ok(vec![(); pieces.len()])
    };
    let done = |done: Vec<(Piece, ())>| {
        tokens += done.iter().map(|(piece, ())| piece.prompt.input_ids.len()).sum::<usize>();
        Ok(())
    };
    schedule::run(work, Limits { tokens: BATCH_TOKENS }, |p| p.cost, batch, done)?;
    let report = comparison.borrow().report().map_err(|e| Failure::from(e).at(input.display()))?;
    let found =
        Found { model: files.root().display().to_string(), tokens, report, exact: model.bytes() };
    let mut output = Output::open(None)?;
    match json {
        true => output.json(&found)?,
        false => output.text(&found.text())?,
    }
    output.finish()
}

/// A report and what it is about.
#[derive(Serialize)]
struct Found {
    model: String,
    /// Tokens of the inputs.
    tokens: usize,
    /// Bytes of the weights in f32.
    #[serde(rename = "bytes_f32")]
    exact: usize,
    #[serde(flatten)]
    report: Report,
}

impl Found {
    fn text(&self) -> String {
        let Report { rows, max_new_tokens, formats, .. } = &self.report;
        let writing = max_new_tokens.map(|n| format!(", up to {n} new tokens each"));
        let mut text = format!(
            "{} against f32: {rows} rows of {} tokens in all{}\n",
            self.model,
            describe::thousands(self.tokens),
            writing.unwrap_or_default()
        );
        for format in formats {
            text += &self.format(format);
        }
        text
    }

    /// A table of the modules, then the whole model, then what it comes to.
    fn format(&self, found: &FormatReport) -> String {
        let longest = found.modules.iter().map(|m| m.module.len()).max().unwrap_or(0).max(12);
        let (size, whole) = (byte_size(found.bytes as u64), byte_size(self.exact as u64));
        let mut text = format!("\n{}: {size}, f32 {whole}\n", found.format);
        text += &format!("  {:<longest$}  relative error  packed in\n", "module");
        for module in &found.modules {
            text += &format!(
                "  {:<longest$}  {:<14.2e}  {}\n",
                module.module, module.relative_error, module.packed
            );
        }
        let whole = match (&found.next_token, &found.states) {
            (Some(next), _) => next_token(next),
            (None, Some(of)) => states(of),
            (None, None) => String::new(),
        };
        if let Some(largest) = found.modules.first() {
            text += &format!(
                "{}: largest: {} at {:.2e}; {whole}\n",
                found.format, largest.module, largest.relative_error
            );
        }
        text
    }
}

fn next_token(next: &NextToken) -> String {
    format!(
        "KL of the next token {:.2e} on average, {:.2e} at most, over {} positions; same best token at {:.2}%; \
         greedy output identical in {:.2}% of the rows",
        next.kl_mean,
        next.kl_largest,
        describe::thousands(next.positions),
        100.0 * next.argmax_agrees,
        100.0 * next.rows_identical
    )
}

fn states(of: &States) -> String {
    let logits = of.logits_relative_error.map(|e| format!("; logits off by {e:.2e}"));
    format!(
        "cosine of the mean hidden state {:.6} on average, {:.6} at the lowest{}",
        of.cosine_mean,
        of.cosine_lowest,
        logits.unwrap_or_default()
    )
}
