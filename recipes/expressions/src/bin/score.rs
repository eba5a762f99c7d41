//! Exact match of generated texts on rows of the grammar, by class.

use clap::{Parser, Subcommand};
use expressions::outcome::{Count, generated, read, rows};
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

/// Scores what a model made of rows `class<TAB>source<TAB>target`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the sources as input of `seq2seq generate --input`.
    Inputs {
        /// Rows of `expressions --with-class`.
        rows: PathBuf,
    },
    /// Prints the share of exact matches by class; fails below the given shares.
    Table {
        /// Rows of `expressions --with-class`.
        rows: PathBuf,
        /// What `seq2seq generate --output` wrote for them.
        outputs: PathBuf,
        /// Least share over all rows.
        #[arg(long, default_value_t = 0.0)]
        least: f64,
        /// Least share in every class.
        #[arg(long, default_value_t = 0.0)]
        least_in_class: f64,
    },
}

fn table(rows: &[[&str; 3]], texts: &[String]) -> (Count, BTreeMap<String, Count>) {
    let (mut all, mut classes) = (Count::default(), BTreeMap::<String, Count>::new());
    for ([class, _, target], text) in rows.iter().zip(texts) {
        all.add(text == target);
        classes.entry((*class).to_owned()).or_default().add(text == target);
    }
    (all, classes)
}

fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::Inputs { rows: path } => {
            for [_, source, _] in rows(&read(&path)?)? {
                println!("{}", json!({ "text": source }));
            }
            Ok(true)
        }
        Command::Table { rows: path, outputs, least, least_in_class } => {
            let text = read(&path)?;
            let (rows, texts) = (rows(&text)?, generated(&read(&outputs)?)?);
            if rows.is_empty() || rows.len() != texts.len() {
                return Err(format!("{} rows but {} outputs", rows.len(), texts.len()));
            }
            let (all, classes) = table(&rows, &texts);
            println!("| class | rows | exact match |\n|---|---|---|");
            for (class, count) in &classes {
                println!("| {class} | {} | {:.2}% |", count.rows, 100.0 * count.share());
            }
            println!("| **all** | {} | {:.2}% |", all.rows, 100.0 * all.share());
            Ok(all.share() >= least && classes.values().all(|c| c.share() >= least_in_class))
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("error: below the least share");
            ExitCode::FAILURE
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_class() {
        let text = "a\tx\t1\na\ty\t2\nb\tz\t3";
        let rows = rows(text).unwrap();
        let texts = generated("{\"text\":\"1\"}\n{\"text\":\"0\"}\n{\"text\":\"3\"}").unwrap();
        let (all, classes) = table(&rows, &texts);
        assert_eq!((all.rows, all.exact), (3, 2));
        assert_eq!((classes["a"].share(), classes["b"].share()), (0.5, 1.0));
    }
}
