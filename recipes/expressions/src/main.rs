//! `expressions`: rows of the default model's grammar, one a line, tab-separated.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use expressions::{Rows, Split, Task};

/// Write rows `source<TAB>target` of the default model's grammar.
#[derive(Parser)]
struct Options {
    /// Which part of the expressions; the parts share none, whatever the seed.
    #[arg(long, value_enum, default_value = "train")]
    split: SplitName,
    /// How many rows (fewer where --distinct runs out of them).
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// The same seed gives the same rows.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Put the class in a first column.
    #[arg(long)]
    with_class: bool,
    /// Never repeat a source text. On by default for valid and test.
    #[arg(long)]
    distinct: bool,
    /// How often a class comes up beside the others (1 unless given), such as `speak-date=3,german=2,write-roman=0`.
    #[arg(long, value_delimiter = ',')]
    weights: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum SplitName {
    Train,
    Valid,
    Test,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut tasks: Vec<(Task, u64)> = Task::all().into_iter().map(|task| (task, 1)).collect();
    for entry in &options.weights {
        let parsed =
            entry.split_once('=').and_then(|(name, weight)| Some((name, weight.parse().ok()?)));
        let slot = parsed.and_then(|(name, weight)| {
            Some((tasks.iter_mut().find(|(t, _)| t.name() == name)?, weight))
        });
        let Some((slot, weight)) = slot else {
            eprintln!("error: --weights takes CLASS=N, not {entry:?}");
            return ExitCode::from(2);
        };
        slot.1 = weight;
    }
    let (split, held_out) = match options.split {
        SplitName::Train => (Split::Train, false),
        SplitName::Valid => (Split::Valid, true),
        SplitName::Test => (Split::Test, true),
    };
    let rows = Rows::new(split, options.seed, &tasks, options.distinct || held_out);
    match write_rows(rows.take(options.count), options.with_class) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write the rows: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_rows(rows: impl Iterator<Item = expressions::Row>, with_class: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for row in rows {
        if with_class {
            write!(out, "{}\t", row.task.name())?;
        }
        writeln!(out, "{}\t{}", row.source, row.target)?;
    }
    out.flush()
}
