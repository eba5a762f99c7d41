//! `inspect`: what a model is, how it decodes, what is odd about its files, and what each format costs in accuracy.

mod compare;
pub(super) mod describe;

use crate::{
    cli::{Global, InspectArgs},
    failure::{Failure, Result},
    load,
    output::Output,
};
use seq2seq_core::Format;
use seq2seq_models::{
    Files, Tokenizer,
    generate::Origin,
    inspect::{self, Inspection},
};
use serde::Serialize;
use std::collections::BTreeMap;

pub(super) fn run(global: &Global, args: &InspectArgs) -> Result<()> {
    if let Some(input) = &args.compare_formats {
        return compare::run(global, input, &args.compare, args.json);
    }
    let files = load::files(global)?;
    let inspection = inspect::inspect(&load::checkpoint(global, files.clone())?)?;
    let report = Report { tokenizer: tokenizer(&files), files: &files, inspection: &inspection };
    let mut output = Output::open(None)?;
    match args.json {
        true => output.json(&report.facts())?,
        false => output.text(&report.text())?,
    }
    output.finish()?;
    match inspection.problems.len() {
        0 => Ok(()),
        n => Err(Failure::input(format!(
            "{}: the model cannot be loaded: {n} problems",
            files.root().display()
        ))),
    }
}

/// The number of tokens, or why there is no tokenizer.
fn tokenizer(files: &Files) -> Result<usize, String> {
    Tokenizer::from_files(files).map(|t| t.vocab_size()).map_err(|e| e.to_string())
}

/// The report for programs.
#[derive(Serialize)]
struct Facts<'a, V> {
    model: String,
    family: &'static str,
    output: &'static str,
    encoder: Option<describe::Shape>,
    decoder: Option<describe::Shape>,
    /// In place of both, of a recurrent model.
    #[serde(skip_serializing_if = "Option::is_none")]
    recurrent: Option<describe::RecurrentShape>,
    parameters: usize,
    /// The format that the weights are stored in; null where every format can be had.
    stored: Option<&'static str>,
    bytes: BTreeMap<&'static str, usize>,
    tokenizer: TokenizerFacts<'a>,
    decoding: Option<BTreeMap<&'a str, Setting<V>>>,
    problems: Vec<String>,
    unused_tensors: &'a [String],
    notices: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum TokenizerFacts<'a> {
    Tokens(usize),
    Missing(&'a str),
}

#[derive(Serialize)]
struct Setting<V> {
    value: V,
    from: String,
}

struct Report<'a> {
    files: &'a Files,
    inspection: &'a Inspection,
    tokenizer: Result<usize, String>,
}

impl Report<'_> {
    /// The formats that the model can be loaded in.
    fn formats(&self) -> impl Iterator<Item = Format> {
        let stored = self.inspection.stored;
        Format::ALL.into_iter().filter(move |&f| stored.is_none_or(|stored| stored == f))
    }

    fn facts(&self) -> Facts<'_, impl Serialize> {
        let Inspection { plan, decoding, problems, unused, .. } = self.inspection;
        let settings = || {
            decoding
                .entries()
                .map(|(name, value, from)| (name, Setting { value, from: from.to_string() }))
        };
        Facts {
            model: self.files.root().display().to_string(),
            family: plan.family.name(),
            output: describe::output(plan),
            encoder: plan.encoder.as_ref().map(describe::shape),
            decoder: plan.decoder.as_ref().map(describe::shape),
            recurrent: plan.recurrent.as_ref().map(describe::recurrent_shape),
            parameters: self.inspection.parameters(),
            stored: self.inspection.stored.map(Format::name),
            bytes: self.formats().map(|f| (f.name(), self.inspection.bytes(f))).collect(),
            tokenizer: match &self.tokenizer {
                Ok(tokens) => TokenizerFacts::Tokens(*tokens),
                Err(reason) => TokenizerFacts::Missing(reason),
            },
            decoding: plan.generates().then(|| settings().collect()),
            problems: problems.iter().map(ToString::to_string).collect(),
            unused_tensors: unused,
            notices: decoding.notices(),
        }
    }

    fn text(&self) -> String {
        let Inspection { plan, decoding, problems, unused, .. } = self.inspection;
        let mut table = Table::default();
        table.row("model", self.files.root().display());
        table.row("family", format_args!("{}: {}", plan.family, describe::output(plan)));
        for (name, stack) in [("encoder", &plan.encoder), ("decoder", &plan.decoder)] {
            if let Some(stack) = stack {
                table.rows(name, describe::stack(stack));
            }
        }
        if let Some(recurrent) = &plan.recurrent {
            describe::recurrent(recurrent)
                .into_iter()
                .for_each(|(name, lines)| table.rows(name, lines));
        }
        table.row("parameters", describe::thousands(self.inspection.parameters()));
        if let Some(format) = self.inspection.stored {
            let exceptions = self.inspection.stored_exceptions.iter();
            let but: String = exceptions.map(|e| format!(", but for {e}")).collect();
            let text = format!("stored in {format}, the only format of this folder{but}");
            table.row("weights", text);
        }
        let memory = |f| format!("{f} {}", inspect::byte_size(self.inspection.bytes(f) as u64));
        table.row("memory", self.formats().map(memory).collect::<Vec<_>>().join(", "));
        match &self.tokenizer {
            Ok(tokens) => table.row("tokenizer", format_args!("{tokens} tokens")),
            Err(reason) => table.row("tokenizer", format_args!("none: {reason}")),
        }
        if plan.generates() {
            let set = decoding.entries().filter(|(.., origin)| *origin != Origin::Default);
            table.rows(
                "decoding",
                set.map(|(name, value, origin)| format!("{name} = {value} ({origin})")),
            );
        }
        table.rows("problems", problems);
        table.rows("unused", unused);
        table.rows("notices", decoding.notices());
        table.0
    }
}

/// Names on the left, what they are on the right.
#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0 += &format!("{name:<12}{value}\n");
    }

    /// The name once, before the first value; nothing where there are none.
    fn rows(&mut self, name: &str, values: impl IntoIterator<Item = impl std::fmt::Display>) {
        let mut name = name;
        for value in values {
            self.row(name, value);
            name = "";
        }
    }
}
