//! What stands on one line.

use super::{Row, RowKind};
use serde::Deserialize;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `source<TAB>target`, without quotes or escapes.
    Tsv,
    /// Objects of JSON.
    JsonLines,
    /// The whole line is a text.
    Plain,
}

impl Format {
    /// By the end of the file's name, and where that says nothing by its first line.
    pub(super) fn of(extension: Option<&str>, first: &[u8]) -> Self {
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("tsv" | "tab") => Self::Tsv,
            Some("jsonl" | "ndjson" | "json") => Self::JsonLines,
            _ if first.trim_ascii_start().starts_with(b"{") => Self::JsonLines,
            Some("txt") if !first.contains(&b'\t') => Self::Plain,
            _ => Self::Tsv,
        }
    }

    /// The row of a line; otherwise what is wrong with it.
    pub(super) fn parse(self, line: &[u8]) -> Result<Row, String> {
        let text = std::str::from_utf8(line)
            .map_err(|e| format!("byte {} is not UTF-8", e.valid_up_to() + 1))?;
        match self {
            Self::Tsv => tsv(text),
            Self::JsonLines => json(text),
            Self::Plain => Ok(Row::Text(text.into())),
        }
    }
}

fn tsv(line: &str) -> Result<Row, String> {
    let mut fields = line.split('\t');
    match (fields.next(), fields.next(), fields.count()) {
        (Some(source), Some(target), 0) => {
            Ok(Row::Pair { source: source.into(), target: target.into() })
        }
        (_, None, _) => Err("there is no tab between source and target; lines that are texts alone are read from files called *.txt".into()),
        (_, _, more) => {
            Err(format!("there are {} tabs; a row is source, one tab, target", more + 1))
        }
    }
}

/// Other fields are passed over.
#[derive(Deserialize)]
struct Fields {
    source: Option<String>,
    target: Option<String>,
    text: Option<String>,
    tokens: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    question: Option<String>,
    context: Option<String>,
    answer: Option<String>,
    start: Option<usize>,
}

/// What a row may hold.
const ROWS: &str = "a row holds \"source\" and \"target\", or \"text\", or \"tokens\" and \"tags\", or \"question\", \"context\", \
                    \"answer\" and \"start\"";

fn json(line: &str) -> Result<Row, String> {
    // The fields would be read from an array too, one after the other.
    if line.trim_start().starts_with(['[', '"']) {
        return Err(format!("is no object of JSON; {ROWS}"));
    }
    let fields: Fields = serde_json::from_str(line).map_err(|e| {
        // There is only one line, which the caller names.
        let message = e.to_string();
        let end = message.rfind(" at line ").unwrap_or(message.len());
        format!("column {}: {}", e.column(), &message[..end])
    })?;
    let Fields { source, target, text, tokens, tags, question, context, answer, start } = fields;
    let question = question.zip(context).zip(answer.zip(start));
    match (source, target, text, tokens, tags, question) {
        (Some(source), Some(target), None, None, None, _) => Ok(Row::Pair { source, target }),
        (None, None, Some(text), None, None, _) => Ok(Row::Text(text)),
        (None, None, None, Some(tokens), Some(tags), _) if tokens.len() == tags.len() => {
            Ok(Row::Tagged { tokens, tags })
        }
        (None, None, None, Some(tokens), Some(tags), _) => {
            Err(format!("there are {} tokens but {} tags", tokens.len(), tags.len()))
        }
        (None, None, None, None, None, Some(((question, context), (answer, start)))) => {
            let found: String = context.chars().skip(start).take(answer.chars().count()).collect();
            match found == answer {
                true => Ok(Row::Question { question, context, answer, start }),
                false => Err(format!(
                    "at character {start} of the context is '{found}', not the answer '{answer}'"
                )),
            }
        }
        _ => Err(ROWS.into()),
    }
}

impl Row {
    /// What it is.
    pub fn kind(&self) -> RowKind {
        match self {
            Self::Pair { .. } => RowKind::Pair,
            Self::Text(_) => RowKind::Text,
            Self::Tagged { .. } => RowKind::Tagged,
            Self::Question { .. } => RowKind::Question,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(source: &str, target: &str) -> Row {
        Row::Pair { source: source.into(), target: target.into() }
    }

    #[test]
    fn rows_of_both_formats() {
        assert_eq!(Format::Tsv.parse(b" a \t\"b\" ").unwrap(), pair(" a ", "\"b\" "));
        assert_eq!(Format::Tsv.parse(b"\t").unwrap(), pair("", ""));
        let json = |line: &str| Format::JsonLines.parse(line.as_bytes());
        assert_eq!(
            json(r#"{"target": "b\tc", "id": 7, "source": "\u00e9"}"#),
            Ok(pair("é", "b\tc"))
        );
        assert_eq!(json(r#"{"text": ""}"#), Ok(Row::Text(String::new())));
        assert_eq!(Format::Plain.parse(b" {a\tb").unwrap(), Row::Text(" {a\tb".into()));
        let tagged = Row::Tagged { tokens: vec!["Ann".into()], tags: vec!["B-PER".into()] };
        assert_eq!(json(r#"{"tokens": ["Ann"], "tags": ["B-PER"]}"#), Ok(tagged));
        let question = |answer: &str, start| Row::Question {
            question: "who?".into(),
            context: "é Ann".into(),
            answer: answer.into(),
            start,
        };
        let line =
            r#"{"id": "1", "question": "who?", "context": "é Ann", "answer": "Ann", "start": 2}"#;
        assert_eq!(json(line), Ok(question("Ann", 2)));
        let line = r#"{"question": "who?", "context": "é Ann", "answer": "", "start": 0}"#;
        assert_eq!(json(line), Ok(question("", 0)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (format, line, reason) in [
            (Format::Tsv, &b"no tab"[..], "no tab"),
            (Format::Tsv, b"a\tb\tc\t", "3 tabs"),
            (Format::Tsv, b"a\t\xFF", "byte 3 is not UTF-8"),
            (Format::JsonLines, b"{\"source\": \"a\"}", "holds \"source\" and \"target\""),
            (
                Format::JsonLines,
                b"{\"source\": \"a\", \"target\": \"b\", \"text\": \"c\"}",
                "or \"text\"",
            ),
            (Format::JsonLines, b"{\"tokens\": [\"a\"], \"tags\": []}", "1 tokens but 0 tags"),
            (
                Format::JsonLines,
                b"{\"question\": \"a\", \"context\": \"b\"}",
                "\"answer\" and \"start\"",
            ),
            (
                Format::JsonLines,
                br#"{"question": "who", "context": "it is Ann", "answer": "Ann", "start": 5}"#,
                "at character 5 of the context is ' An', not the answer 'Ann'",
            ),
            (
                Format::JsonLines,
                br#"{"question": "who", "context": "Ann", "answer": "Ann", "start": 7}"#,
                "at character 7 of the context is ''",
            ),
            (Format::JsonLines, b"{\"text\": 5}", "column 10: invalid type"),
            (Format::JsonLines, b"hello", "column 1: expected value"),
            (Format::JsonLines, b"[\"a\", \"b\"]", "is no object of JSON; a row holds"),
            (Format::JsonLines, b" \"a\"", "is no object of JSON; a row holds"),
        ] {
            let error = format.parse(line).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn formats_are_recognised() {
        assert_eq!(Format::of(Some("TSV"), b"{"), Format::Tsv);
        assert_eq!(Format::of(Some("jsonl"), b"a\tb"), Format::JsonLines);
        assert_eq!(Format::of(Some("txt"), b" {\"text\""), Format::JsonLines);
        assert_eq!(Format::of(None, b"a\tb"), Format::Tsv);
        assert_eq!(Format::of(Some("txt"), b"a\tb"), Format::Tsv);
        assert_eq!(Format::of(Some("txt"), b"a b"), Format::Plain);
        assert_eq!(Format::of(None, b"a b"), Format::Tsv);
    }
}
