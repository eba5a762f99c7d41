//! The `seq2seq` program: models from Hugging Face folders on the command line.
// The documentation of arguments is their help text, where brackets are only brackets.
#![allow(rustdoc::broken_intra_doc_links)]
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod default_model;
mod failure;
mod interrupt;
mod load;
mod output;
mod records;
mod schedule;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return failure::report_usage(&error),
    };
    start_logging(cli.global.verbose);
    // A training listens for itself. What it has not finished is removed when it goes on.
    if !matches!(cli.command, cli::Command::Train(_))
        && let Err(error) = interrupt::remove_unfinished()
    {
        tracing::warn!("unfinished files stay when the program is ended by a signal: {error}");
    }
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Warnings go to stderr, and more where `-v` or `SEQ2SEQ_LOG` asks for it.
fn start_logging(verbose: u8) {
    use tracing_subscriber::{EnvFilter, fmt};
    let level = ["warn", "info", "debug", "trace"][usize::from(verbose).min(3)];
    let filter = std::env::var("SEQ2SEQ_LOG").unwrap_or_else(|_| level.into());
    fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false)
        // What cannot be written to standard error cannot be told there either.
        .log_internal_errors(false)
        .init();
}
