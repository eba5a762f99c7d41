use crate::{cli::Streams, output::is_stdout};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr, stdout};

/// How far a long run is, drawn on stderr where work comes from a file and somebody watches.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// `bytes` read and to be read, where that is known.
    pub(super) fn new(bytes: Option<(u64, u64)>, streams: &Streams) -> Self {
        // Results on the terminal show how far it is, and a bar would run through them.
        let results_shown = is_stdout(streams.output.as_deref()) && stdout().is_terminal();
        if streams.input.is_none() || results_shown || !stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let (bar, style) = match bytes {
            Some((_, all)) => {
                (ProgressBar::new(all), "{wide_bar} {percent}% {msg} rows, {eta} to go")
            }
            None => (ProgressBar::no_length(), "{spinner} {msg} rows in {elapsed}"),
        };
        // The templates are ours; a wrong one would leave the default style.
        bar.set_style(
            ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self(bar)
    }

    pub(super) fn update(&self, rows: usize, bytes: Option<(u64, u64)>) {
        self.0.set_message(rows.to_string());
        match bytes {
            Some((read, _)) => self.0.set_position(read),
            None => self.0.tick(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
