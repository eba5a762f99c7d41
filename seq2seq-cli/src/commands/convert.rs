//! `convert`: a folder whose weights are in a format already.

use crate::{
    cli::{ConvertArgs, Global},
    failure::{Failure, Result},
    load,
    output::Output,
};
use seq2seq_models::inspect::byte_size;

pub(super) fn run(global: &Global, args: &ConvertArgs) -> Result<()> {
    let format = global
        .format
        .ok_or_else(|| Failure::input("--format is missing: say what to convert the weights to"))?;
    let files = load::files(global)?;
    let done = seq2seq_models::convert(&files, &load::options(global, format), &args.output)?;
    let mut output = Output::open(None)?;
    let size = byte_size(done.bytes);
    output.text(&format!(
        "{}: {format}, {size} of weights, and {}\n",
        args.output.display(),
        done.files.join(", ")
    ))?;
    output.finish()
}
