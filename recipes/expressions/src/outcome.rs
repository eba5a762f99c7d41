//! What a model made of rows, to be scored.

use serde_json::Value;
use std::{fs, path::Path};

/// Rows seen and rows matched.
#[derive(Debug, Default)]
pub struct Count {
    /// All.
    pub rows: usize,
    /// Those whose text is the target.
    pub exact: usize,
}

impl Count {
    /// Counts a row.
    pub fn add(&mut self, exact: bool) {
        self.rows += 1;
        self.exact += usize::from(exact);
    }

    /// The share of exact ones.
    pub fn share(&self) -> f64 {
        self.exact as f64 / self.rows as f64
    }
}

/// The text of a file.
///
/// # Errors
/// Says which file, and why.
pub fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Rows `class<TAB>source<TAB>target`.
///
/// # Errors
/// For a line that is none.
pub fn rows(text: &str) -> Result<Vec<[&str; 3]>, String> {
    text.lines()
        .enumerate()
        .map(|(n, line)| {
            let mut parts = line.split('\t');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(class), Some(source), Some(target), None) => Ok([class, source, target]),
                _ => Err(format!("line {}: not class, source, target", n + 1)),
            }
        })
        .collect()
}

/// The texts of an output of `seq2seq generate --output`.
///
/// # Errors
/// For a line that has none.
pub fn generated(text: &str) -> Result<Vec<String>, String> {
    let parse = |(n, line): (usize, &str)| {
        let value: Value =
            serde_json::from_str(line).map_err(|e| format!("output line {}: {e}", n + 1))?;
        let text = value["text"].as_str().ok_or(format!("output line {}: no text", n + 1))?;
        Ok(text.to_owned())
    };
    text.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_it_cannot_read() {
        assert!(rows("a\tb").is_err());
        assert!(generated("{}").is_err());
    }
}
