//! How the program ends when it cannot do what it was asked to: one line on stderr and an exit code.

use seq2seq_models::Error;
use std::{
    fmt::Display,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

/// The result of anything the program does.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why the program ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller can mend it: bad usage or bad input. Exit code 2.
    Input(String),
    /// Anything else, such as a full disk. Exit code 1.
    Other(String),
    /// Whoever read our output has had enough. Not a failure of ours.
    Closed,
}

impl Failure {
    /// [`Failure::Input`].
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }

    /// An output that could not be written.
    pub(crate) fn output(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Other(format!("{}: {error}", path.display())),
        }
    }

    /// Says where in the input it happened.
    pub(crate) fn at(self, place: impl Display) -> Self {
        match self {
            Self::Input(message) => Self::Input(format!("{place}: {message}")),
            Self::Other(message) => Self::Other(format!("{place}: {message}")),
            Self::Closed => Self::Closed,
        }
    }

    /// Puts the place of a row for its number in a batch, which messages of generations begin with.
    pub(crate) fn in_row(self, places: &[impl Display]) -> Self {
        let Self::Input(message) = &self else { return self };
        let row = message.strip_prefix("row ").and_then(|rest| rest.split_once(": "));
        match row.and_then(|(row, reason)| Some((places.get(row.parse::<usize>().ok()?)?, reason)))
        {
            Some((place, reason)) => Self::Input(format!("{place}: {reason}")),
            None if places.len() == 1 => self.at(&places[0]),
            None => self,
        }
    }

    /// Prints the line and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Input(message) => (message, 2),
            Self::Other(message) => (message, 1),
            Self::Closed => return ExitCode::SUCCESS,
        };
        let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
        // Where nobody can be told, the exit code still says it.
        let _ = writeln!(io::stderr(), "error: {line}");
        ExitCode::from(code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use seq2seq_core::Error as Op;
        match error {
            // The network, disks and devices, and sizes that only a mistake of ours can get wrong.
            Error::Hub { .. }
            | Error::Write { .. }
            | Error::NoRoom { .. }
            | Error::Op(
                Op::OutOfMemory { .. } | Op::Device { .. } | Op::Shape { .. } | Op::Capacity { .. },
            ) => Self::Other(error.to_string()),
            _ => Self::Input(error.to_string()),
        }
    }
}

/// Prints help, the version, or what is wrong with the arguments in one line.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand as NoCommand, DisplayVersion,
    };
    if matches!(error.kind(), DisplayHelp | DisplayVersion) {
        // A reader that has closed the pipe has seen enough help.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == NoCommand {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let paragraphs: Vec<_> = text
        .split("\n\n")
        .filter(|p| !p.starts_with("Usage:") && !p.starts_with("For more"))
        .collect();
    let message = paragraphs.join("; ");
    Failure::input(format!("{} (see --help)", message.trim_start_matches("error: ").trim_end()))
        .report()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_batch_become_places() {
        let of = |message: &str, places: &[&str]| match Failure::input(message).in_row(places) {
            Failure::Input(message) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(of("row 1: too long", &["line 7", "line 3"]), "line 3: too long");
        assert_eq!(of("row 9: odd", &["line 7", "line 3"]), "row 9: odd");
        assert_eq!(of("odd", &["line 7"]), "line 7: odd");
    }

    #[test]
    fn kinds_of_errors_have_their_codes() {
        let hub = Error::Hub { id: "a/b".into(), reason: "gone".into() };
        let full = Error::write("x", io::ErrorKind::StorageFull.into());
        let memory = seq2seq_core::Error::OutOfMemory { needed: 9, free: 1, total: 2 }.into();
        for other in [hub, full, memory] {
            assert!(matches!(Failure::from(other), Failure::Other(_)));
        }
        let gone = Error::io("x", io::ErrorKind::NotFound.into());
        assert!(matches!(Failure::from(gone), Failure::Input(_)));
        assert!(matches!(Failure::from(Error::input("empty")), Failure::Input(_)));
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::output(Path::new("x"), &closed).at("line 1"), Failure::Closed));
    }
}
