//! `score`: how good texts are against references.

use crate::{
    cli::ScoreArgs,
    failure::{Failure, Result},
    output::Output,
    records::{Lines, object},
};
use seq2seq_models::train::metrics::Scorer;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::Path;

pub(super) fn run(args: &ScoreArgs) -> Result<()> {
    let files = std::iter::once(&args.hypotheses).chain(&args.references);
    if files.filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(Failure::input(
            "standard input (-) holds the texts of one file; give the others by name",
        ));
    }
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
    lines: Lines,
    format: Format,
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
        let format = match path.extension().and_then(|e| e.to_str()) {
            Some("tsv") => Format::Tsv,
            Some("jsonl" | "ndjson") => Format::Json,
            // As everywhere.
            _ if path == Path::new("-") => Format::Json,
            _ => Format::Lines,
        };
        Ok(Self { lines: Lines::open(path)?, format })
    }

    /// The next text; `None` at the end.
    fn next(&mut self) -> Result<Option<String>> {
        while let Some(line) = self.lines.next_line()? {
            // As where data is read: blank lines are no rows.
            if self.format != Format::Lines && line.trim().is_empty() {
                continue;
            }
            if let Some(text) =
                self.text(line).map_err(|e| Failure::input(e).at(self.lines.place()))?
            {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The text of a line; `None` where it is another one of the same row.
    fn text(&self, line: String) -> Result<Option<String>, String> {
        match self.format {
            Format::Lines => Ok(Some(line)),
            Format::Tsv => match line.split_once('\t') {
                Some((_, target)) => Ok(Some(target.into())),
                None => Err("there is no tab before the text".into()),
            },
            Format::Json => {
                let fields: Fields = object(&line)?;
                match fields.text.or(fields.target) {
                    _ if fields.sequence > 0 => Ok(None),
                    None => Err("there is neither \"text\" nor \"target\"".into()),
                    text => Ok(text),
                }
            }
        }
    }
}
