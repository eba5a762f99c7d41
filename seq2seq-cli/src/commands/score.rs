//! `score`: how good texts are against references.

use crate::{
    cli::ScoreArgs,
    failure::{Failure, Result},
    output::Output,
};
use seq2seq_models::train::metrics::Scorer;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

pub(super) fn run(args: &ScoreArgs) -> Result<()> {
    let mut hypotheses = Texts::open(&args.hypotheses)?;
    let mut references =
        args.references.iter().map(|path| Texts::open(path)).collect::<Result<Vec<_>>>()?;
    let mut scorer = Scorer::new(&args.metrics);
    loop {
        let hypothesis = hypotheses.next()?;
        let texts = references.iter_mut().map(Texts::next).collect::<Result<Vec<_>>>()?;
        let read = texts.iter().flatten().count();
        match hypothesis {
            None if read == 0 => break,
            Some(hypothesis) if read == texts.len() => {
                let texts: Vec<&str> = texts.iter().flatten().map(String::as_str).collect();
                scorer.add(&hypothesis, &texts)?;
            }
            found => return Err(uneven(args, scorer.rows(), found.is_some(), &texts)),
        }
    }
    let scores = scorer.scores().map_err(|e| Failure::from(e).at(args.hypotheses.display()))?;
    let mut output = Output::open(None)?;
    if args.json {
        let rows = [("rows".to_owned(), json!(scorer.rows()))];
        let scores = scores.iter().map(|(metric, score)| (metric.name().to_owned(), json!(score)));
        output.json(&rows.into_iter().chain(scores).collect::<Map<String, Value>>())?;
    } else {
        for (metric, score) in scores {
            output.text(&format!("{:<12}{score:>7.2}\n", metric.name()))?;
        }
    }
    output.finish()
}

/// Which of the files is the first to end.
fn uneven(args: &ScoreArgs, rows: usize, hypothesis: bool, texts: &[Option<String>]) -> Failure {
    let files = std::iter::once((&args.hypotheses, hypothesis))
        .chain(args.references.iter().zip(texts.iter().map(Option::is_some)));
    let names = |more: bool| {
        let names = files.clone().filter(|(_, has)| *has == more);
        names.map(|(path, _)| path.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    Failure::input(format!(
        "{} ends after {rows} texts, and {} goes on; there must be a reference for each text",
        names(false),
        names(true)
    ))
}

/// The texts of a file, one after the other.
struct Texts {
    reader: BufReader<File>,
    name: String,
    format: Format,
    line: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Lines,
    Tsv,
    Json,
}

/// What is used of a line of JSON.
#[derive(Deserialize)]
struct Fields {
    text: Option<String>,
    target: Option<String>,
    /// What `generate` writes has one for each sequence of a row.
    #[serde(default)]
    sequence: usize,
}

impl Texts {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| Failure::input(format!("{name}: {e}")))?;
        let format = match path.extension().and_then(|e| e.to_str()) {
            Some("tsv") => Format::Tsv,
            Some("jsonl" | "ndjson") => Format::Json,
            _ => Format::Lines,
        };
        Ok(Self { reader: BufReader::new(file), name, format, line: 0 })
    }

    /// The next text; `None` at the end.
    fn next(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            self.line += 1;
            let read = self.reader.read_until(b'\n', &mut bytes);
            if read.map_err(|e| Failure::input(format!("{}: {e}", self.name)))? == 0 {
                return Ok(None);
            }
            let at = |reason: String| {
                Failure::input(format!("{}: line {}: {reason}", self.name, self.line))
            };
            let text = std::str::from_utf8(&bytes)
                .map_err(|e| at(format!("byte {} is not UTF-8", e.valid_up_to() + 1)))?;
            let text = text.strip_suffix('\n').unwrap_or(text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            match self.format {
                Format::Lines => return Ok(Some(text.into())),
                // As where data is read: blank lines are no rows.
                _ if text.trim().is_empty() => {}
                Format::Tsv => {
                    return match text.split_once('\t') {
                        Some((_, target)) => Ok(Some(target.into())),
                        None => Err(at("there is no tab before the text".into())),
                    };
                }
                Format::Json => {
                    let fields: Fields =
                        serde_json::from_str(text).map_err(|e| at(e.to_string()))?;
                    let text = fields.text.or(fields.target);
                    if fields.sequence == 0 {
                        return match text {
                            Some(text) => Ok(Some(text)),
                            None => Err(at("there is neither \"text\" nor \"target\"".into())),
                        };
                    }
                }
            }
        }
    }
}
