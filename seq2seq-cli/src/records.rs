//! The work of a command: texts from the command line, or lines of JSON. And the lines of any file of text.

use crate::failure::{Failure, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    str::Utf8Error,
    sync::Arc,
};

/// One piece of work.
#[derive(Debug)]
pub(crate) struct Record<T> {
    /// Its number, from 0.
    pub(crate) row: usize,
    /// Where it stands, for messages.
    pub(crate) place: Place,
    /// What it says.
    pub(crate) value: T,
}

/// Where a record stands.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// An argument, counted from 1.
    Argument(usize),
    /// A line of a file, counted from 1.
    Line(Arc<str>, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(n) => write!(f, "text {n}"),
            Self::Line(file, n) => write!(f, "{file}: line {n}"),
        }
    }
}

/// Records in order. Blank lines are passed over.
pub(crate) enum Records<T> {
    /// From the command line.
    Given(std::iter::Enumerate<std::vec::IntoIter<T>>),
    /// From a file, with the number of those that have been read.
    Lines(Lines, usize),
}

/// The lines of a file in UTF-8.
pub(crate) struct Lines {
    reader: Box<dyn BufRead>,
    name: Arc<str>,
    line: usize,
    /// Bytes read, and how many there are where that is known.
    position: (u64, Option<u64>),
}

impl<T> Records<T> {
    /// The texts, or the file that `input` names (`-` for standard input). Fails where there are neither or both.
    pub(crate) fn open(given: Vec<T>, input: Option<&Path>) -> Result<Self> {
        match (given.is_empty(), input) {
            (false, None) => Ok(Self::Given(given.into_iter().enumerate())),
            (true, Some(path)) => Ok(Self::Lines(Lines::open(path)?, 0)),
            (true, None) => Err(Failure::input(
                "there is nothing to do: give TEXT, or --input FILE (- for standard input)",
            )),
            (false, Some(_)) => Err(Failure::input("give either TEXT or --input, not both")),
        }
    }

    /// Bytes read and bytes there are, of a file whose size is known.
    pub(crate) fn progress(&self) -> Option<(u64, u64)> {
        match self {
            Self::Given(_) => None,
            Self::Lines(lines, _) => lines.position.1.map(|all| (lines.position.0, all)),
        }
    }
}

impl<T: DeserializeOwned> Iterator for Records<T> {
    type Item = Result<Record<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Given(texts) => texts
                .next()
                .map(|(row, value)| Ok(Record { row, place: Place::Argument(row + 1), value })),
            Self::Lines(lines, rows) => lines.next_record(rows),
        }
    }
}

impl Lines {
    /// A file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let lines = |reader, name: &str, size| Self {
            reader,
            name: name.into(),
            line: 0,
            position: (0, size),
        };
        if path == Path::new("-") {
            return Ok(lines(Box::new(BufReader::new(io::stdin())), "standard input", None));
        }
        let name = path.display().to_string();
        let fail = |e: io::Error| Failure::input(format!("{name}: {e}"));
        let file = File::open(path).map_err(fail)?;
        let found = file.metadata().map_err(fail)?;
        if found.is_dir() {
            return Err(Failure::input(format!("{name}: is a folder, not a file")));
        }
        let size = found.is_file().then_some(found.len());
        Ok(lines(Box::new(BufReader::new(file)), &name, size))
    }

    /// Where the last line stands.
    pub(crate) fn place(&self) -> Place {
        Place::Line(self.name.clone(), self.line)
    }

    /// The next line without what ends it, and without a byte order mark; `None` behind the last.
    pub(crate) fn next_line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        self.line += 1;
        match self.reader.read_until(b'\n', &mut bytes) {
            Ok(0) => return Ok(None),
            Ok(n) => self.position.0 += n as u64,
            Err(e) => return Err(Failure::input(format!("{}: {e}", self.name))),
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.strip_prefix(b"\xEF\xBB\xBF").filter(|_| self.line == 1).unwrap_or(line);
        let text = std::str::from_utf8(line);
        let not_utf8 = |e: Utf8Error| format!("byte {} is not UTF-8", e.valid_up_to() + 1);
        text.map(|text| Some(text.to_owned()))
            .map_err(|e| Failure::input(not_utf8(e)).at(self.place()))
    }

    fn next_record<T: DeserializeOwned>(&mut self, rows: &mut usize) -> Option<Result<Record<T>>> {
        loop {
            let line = match self.next_line() {
                Ok(line) => line?,
                Err(failure) => return Some(Err(failure)),
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let (place, row) = (self.place(), *rows);
            *rows += 1;
            return Some(match object(&line) {
                Ok(value) => Ok(Record { row, place, value }),
                Err(reason) => Err(Failure::input(reason).at(place)),
            });
        }
    }
}

/// What the object on a line of JSON holds; otherwise what is wrong with it.
pub(crate) fn object<T: DeserializeOwned>(line: &str) -> Result<T, String> {
    if line.trim_start().starts_with('{') {
        return json(line);
    }
    // Structs would be read from arrays too, field by field.
    let found = match json::<Value>(line)? {
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        _ => "a single value",
    };
    Err(format!("holds {found}; it must hold an object, {{…}}, with the fields that --help names"))
}

fn json<T: DeserializeOwned>(line: &str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|e| {
        // There is only one line, which the caller names.
        let position = format!(" at line {} column {}", e.line(), e.column());
        let message = e.to_string();
        let message = message.strip_suffix(&position).unwrap_or(&message);
        format!("column {}: {message}", e.column())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug)]
    struct Text {
        text: String,
    }

    fn read(content: &[u8]) -> Vec<Result<Record<Text>>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        Records::open(vec![], Some(file.path())).unwrap().collect()
    }

    #[test]
    fn lines_are_counted_and_blank_ones_passed_over() {
        let records =
            read(b"\xEF\xBB\xBF{\"text\": \"a\"}\r\n\n  \n{\"text\": \"b\", \"more\": 1}");
        let seen: Vec<_> = records.into_iter().map(Result::unwrap).collect();
        assert_eq!(
            seen.iter().map(|r| (r.row, r.value.text.as_str())).collect::<Vec<_>>(),
            [(0, "a"), (1, "b")]
        );
        assert!(seen[1].place.to_string().ends_with("line 4"));
        assert!(read(b"").is_empty());
    }

    #[test]
    fn bad_lines_are_named() {
        for (content, reason) in [
            (&b"{\"text\": \"a\"}\n{\"text\": 5}"[..], "line 2: column 10: invalid type"),
            (b"{\"text\": \"\xFF\"}", "line 1: byte 11 is not UTF-8"),
            (b"\nhello", "line 2: column 1: expected value"),
            (b"\"speak: 1\"", "line 1: holds a text; it must hold an object"),
            (b"[\"a\"]", "line 1: holds an array; it must hold an object"),
            (b" 5", "line 1: holds a single value"),
            (b"{\"other\": 1}", "line 1: column 12: missing field `text`"),
        ] {
            let Some(Err(Failure::Input(message))) = read(content).pop() else {
                panic!("{reason}")
            };
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn either_texts_or_a_file() {
        assert!(Records::<String>::open(vec![], None).is_err());
        assert!(Records::open(vec!["a".to_owned()], Some(Path::new("-"))).is_err());
        assert!(Records::<String>::open(vec![], Some(Path::new("/no/such/file"))).is_err());
    }
}
