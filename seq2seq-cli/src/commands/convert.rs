//! `convert`: a folder whose weights are in a format already.

use crate::{
    cli::{ConvertArgs, Global},
    commands::inspect::describe,
    failure::{Failure, Result},
    load,
    output::Output,
};

pub(super) fn run(global: &Global, args: &ConvertArgs) -> Result<()> {
    let format = global
        .format
        .ok_or_else(|| Failure::input("--format is missing: say what to convert the weights to"))?;
    let files = load::files(global)?;
    let done = seq2seq_models::convert(&files, &load::options(global, format), &args.output)?;
    let mut output = Output::open(None)?;
    let size = describe::bytes(usize::try_from(done.bytes).unwrap_or(usize::MAX));
    output.text(&format!(
        "{}: {format}, {size} of weights, and {}\n",
        args.output.display(),
        done.files.join(", ")
    ))?;
    output.finish()
}
