//! Files of rows, of which only the places are in memory.

use super::line::Format;
use crate::{Error, Result};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// What a model learns from one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// `source<TAB>target`, or `{"source", "target"}`.
    Pair {
        /// What is read.
        source: String,
        /// What is to be written.
        target: String,
    },
    /// `{"text"}`, or a line of a `*.txt` file, for causal and masked language models and for denoising.
    Text(String),
    /// `{"tokens", "tags"}`: words, and the class of each.
    Tagged {
        /// What is read.
        tokens: Vec<String>,
        /// As many.
        tags: Vec<String>,
    },
    /// `{"question", "context", "answer", "start"}`: a question and where a text answers it.
    Question {
        /// The question.
        question: String,
        /// The text.
        context: String,
        /// A stretch of the text; empty where it holds no answer.
        answer: String,
        /// The first character of the answer in the text, counted from 0 (Unicode scalar values).
        start: usize,
    },
}

/// What the rows of a corpus are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// [`Row::Pair`].
    Pair,
    /// [`Row::Text`].
    Text,
    /// [`Row::Tagged`].
    Tagged,
    /// [`Row::Question`].
    Question,
}

impl std::fmt::Display for RowKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pair => "sources and targets",
            Self::Text => "texts",
            Self::Tagged => "tagged tokens",
            Self::Question => "questions with their answers",
        })
    }
}

/// The rows of some files, one after the other. Eight bytes of memory a row.
#[derive(Debug)]
pub struct Corpus {
    files: Vec<Indexed>,
    kind: RowKind,
    rows: usize,
    fingerprint: u64,
}

#[derive(Debug)]
struct Indexed {
    path: PathBuf,
    file: File,
    format: Format,
    /// The number of its first row.
    first: usize,
    /// Where each row begins, and where the last one ends.
    offsets: Vec<u64>,
}

impl Corpus {
    /// Reads the files once, to the end, and notes where rows are.
    ///
    /// Rows are lines, `source<TAB>target` in files called `*.tsv`, JSON in files called `*.jsonl` (`*.ndjson`,
    /// `*.json`), and in others JSON where the first line begins with `{`. Those of other files called `*.txt` are texts
    /// where the first line has no tab. Blank lines are passed over; a line may end
    /// in `\r\n`, and the first may begin with a byte order mark. The files must stay as they are.
    ///
    /// # Errors
    /// Files that cannot be read or hold no row, the first line that is no row, and rows with a source among rows
    /// without: with the file and the line.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self> {
        let mut corpus = Self {
            files: Vec::with_capacity(paths.len()),
            kind: RowKind::Pair,
            rows: 0,
            fingerprint: FNV_BASIS,
        };
        for path in paths {
            corpus.add(path.as_ref())?;
        }
        match corpus.rows {
            0 => Err(Error::input("there are no files of rows")),
            _ => Ok(corpus),
        }
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let failed = |e| Error::io(path, e);
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(Error::file(path, "is a folder, not a file of rows"));
        }
        let mut lines = Lines { reader: BufReader::new(&file), offset: 0, line: Vec::new() };
        let (mut format, mut offsets, mut number) = (None, Vec::new(), 0);
        while let Some(offset) = lines.advance().map_err(failed)? {
            number += 1;
            let line = content(&lines.line, offset);
            if line.trim_ascii().is_empty() {
                continue;
            }
            let format = *format
                .get_or_insert_with(|| Format::of(path.extension().and_then(|e| e.to_str()), line));
            let at = |reason| Error::file(path, format!("line {number}: {reason}"));
            let kind = format.parse(line).map_err(at)?.kind();
            if self.rows + offsets.len() == 0 {
                self.kind = kind;
            } else if kind != self.kind {
                return Err(at(format!("holds {kind}; the rows before it {}", self.kind)));
            }
            self.fingerprint = fnv(fnv(self.fingerprint, line), b"\n");
            offsets.push(offset);
        }
        let format =
            format.ok_or_else(|| Error::file(path, "there are no rows in it, only blank lines"))?;
        let (first, end) = (self.rows, lines.offset);
        self.rows += offsets.len();
        offsets.push(end);
        self.files.push(Indexed { path: path.into(), file, format, first, offsets });
        Ok(())
    }

    /// The number of rows, at least 1.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What the rows are.
    pub fn kind(&self) -> RowKind {
        self.kind
    }

    /// A number that another order, number or content of rows would change (64-bit FNV-1a over the lines).
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Reads row `i` from its file.
    ///
    /// # Errors
    /// When there is no such row, or when its file has been changed since [`open`](Self::open).
    pub fn row(&mut self, i: usize) -> Result<Row> {
        let (file, within) = self.locate(i)?;
        let Indexed { path, file, format, offsets, .. } = &self.files[file];
        let (start, end) = (offsets[within], offsets[within + 1]);
        let mut bytes = Vec::new();
        let mut reader: &File = file;
        let read = reader
            .seek(SeekFrom::Start(start))
            .and_then(|_| reader.take(end - start).read_to_end(&mut bytes));
        read.map_err(|e| Error::io(path, e))?;
        // Blank lines may follow.
        let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
        format.parse(content(line, start)).map_err(|reason| {
            self.error(i, format!("{reason}; the file has been changed since it was first read"))
        })
    }

    /// An error about row `i` that names its file and its line.
    pub fn error(&self, i: usize, reason: impl std::fmt::Display) -> Error {
        let Ok((file, within)) = self.locate(i) else {
            return Error::input(format!("row {i}: {reason}"));
        };
        let Indexed { path, offsets, .. } = &self.files[file];
        match line_number(path, offsets[within]) {
            Ok(line) => Error::file(path, format!("line {line}: {reason}")),
            Err(_) => Error::file(path, format!("row {}: {reason}", within + 1)),
        }
    }

    /// The file of row `i`, and which of its rows it is.
    fn locate(&self, i: usize) -> Result<(usize, usize)> {
        if i >= self.rows {
            return Err(Error::input(format!("there is no row {i} among {}", self.rows)));
        }
        let file = self.files.partition_point(|f| f.first <= i) - 1;
        Ok((file, i - self.files[file].first))
    }
}

struct Lines<R> {
    reader: R,
    /// Of the next line.
    offset: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Reads the next line and gives the place where it begins; `None` at the end.
    fn advance(&mut self) -> std::io::Result<Option<u64>> {
        self.line.clear();
        let start = self.offset;
        let read = self.reader.read_until(b'\n', &mut self.line)?;
        self.offset += read as u64;
        Ok((read > 0).then_some(start))
    }
}

/// A line without its end, and without a byte order mark where it is the first.
fn content(line: &[u8], offset: u64) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.strip_prefix(b"\xEF\xBB\xBF").filter(|_| offset == 0).unwrap_or(line)
}

/// The number, from 1, of the line that begins at `offset`.
fn line_number(path: &Path, offset: u64) -> std::io::Result<usize> {
    let mut before = BufReader::new(File::open(path)?.take(offset));
    let mut ends = 0;
    loop {
        let bytes = before.fill_buf()?;
        if bytes.is_empty() {
            return Ok(ends + 1);
        }
        ends += bytes.iter().filter(|&&b| b == b'\n').count();
        let read = bytes.len();
        before.consume(read);
    }
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a (Fowler, Noll and Vo), continued.
pub(crate) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn write(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn pair(source: &str, target: &str) -> Row {
        Row::Pair { source: source.into(), target: target.into() }
    }

    #[test]
    fn rows_of_several_files_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            write(&folder, "a.tsv", b"\xEF\xBB\xBFa\tb\r\n\n   \nc\td\n\n\n"),
            write(&folder, "b.jsonl", b"\n{\"source\": \"e\", \"target\": \"f\"}"),
            write(&folder, "c", b"g\th\n"),
        ];
        let mut corpus = Corpus::open(&files).unwrap();
        assert_eq!((corpus.rows(), corpus.kind()), (4, RowKind::Pair));
        let expected = [pair("a", "b"), pair("c", "d"), pair("e", "f"), pair("g", "h")];
        for i in [3, 0, 2, 1, 0] {
            assert_eq!(corpus.row(i).unwrap(), expected[i]);
        }
        assert!(corpus.row(4).is_err());
        let lines = [("a.tsv", 1), ("a.tsv", 4), ("b.jsonl", 2), ("c", 1)];
        for (i, (name, line)) in lines.into_iter().enumerate() {
            let error = corpus.error(i, "odd").to_string();
            assert!(error.ends_with(&format!("{name}: line {line}: odd")), "{error}");
        }
    }

    #[test]
    fn texts_stand_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(&folder, "a.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
        let mut corpus = Corpus::open(&[path]).unwrap();
        assert_eq!((corpus.rows(), corpus.kind()), (2, RowKind::Text));
        assert_eq!(corpus.row(1).unwrap(), Row::Text("b".into()));
        let path = write(&folder, "a.txt", b"\xEF\xBB\xBFa b \r\n\nc\td\n");
        let mut corpus = Corpus::open(&[path]).unwrap();
        assert_eq!((corpus.rows(), corpus.kind()), (2, RowKind::Text));
        assert_eq!(corpus.row(0).unwrap(), Row::Text("a b ".into()));
        assert_eq!(corpus.row(1).unwrap(), Row::Text("c\td".into()));
    }

    #[test]
    fn the_first_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content, reason) in [
            ("a.tsv", &b"a\tb\n\nc d\n"[..], "a.tsv: line 3: there is no tab"),
            (
                "b.jsonl",
                b"{\"text\": \"a\"}\n{\"text\": \"\xFF\"}\n",
                "line 2: byte 11 is not UTF-8",
            ),
            (
                "c.jsonl",
                b"{\"text\": \"a\"}\n{\"source\": \"a\", \"target\": \"b\"}",
                "line 2: holds sources and targets; the rows before it texts",
            ),
            ("d.tsv", b"\n \r\n", "no rows"),
            ("e.tsv", b"", "no rows"),
        ] {
            let error = Corpus::open(&[write(&folder, name, content)]).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let pairs = write(&folder, "pairs.tsv", b"a\tb\n");
        let texts = write(&folder, "texts.jsonl", b"{\"text\": \"a\"}\n");
        let error = Corpus::open(&[pairs, texts]).unwrap_err().to_string();
        assert!(error.contains("texts.jsonl: line 1: holds texts"), "{error}");
        for path in [folder.path().join("none"), folder.path().into()] {
            assert!(Corpus::open(&[path]).is_err());
        }
        assert!(Corpus::open::<PathBuf>(&[]).is_err());
    }

    #[test]
    fn files_that_change_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(&folder, "a.tsv", b"a\tb\nc\td\n");
        let mut corpus = Corpus::open(&[&path]).unwrap();
        std::fs::write(&path, "a\tb\n").unwrap();
        let error = corpus.row(1).unwrap_err().to_string();
        assert!(error.contains("changed"), "{error}");
    }

    #[test]
    fn the_fingerprint_is_that_of_the_rows() {
        let folder = tempfile::tempdir().unwrap();
        let of = |content: &[u8]| {
            Corpus::open(&[write(&folder, "a.tsv", content)]).unwrap().fingerprint()
        };
        let base = of(b"a\tb\nc\td\n");
        assert_eq!(base, of(b"a\tb\r\n\nc\td"));
        for other in [&b"c\td\na\tb\n"[..], b"a\tb\n", b"a\tb\nc\te\n"] {
            assert_ne!(base, of(other));
        }
        // The published value for "a".
        assert_eq!(fnv(FNV_BASIS, b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
