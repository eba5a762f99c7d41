//! Words, punctuation and strings of PTX text, each with its line.

use super::Failure;

/// A piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A name, a number, a directive with its dot, or an opcode with all its modifiers.
    Word(&'a str),
    /// A string, without its quotes.
    Text(&'a str),
    /// Anything else, one character each.
    Mark(char),
    /// The end.
    End,
}

/// The tokens of a text, read one after another.
pub(crate) struct Tokens<'a> {
    all: Vec<(Token<'a>, u32)>,
    next: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a str) -> Result<Self, Failure> {
        let (mut all, mut line, mut rest) = (Vec::new(), 1, text);
        while let Some(c) = rest.chars().next() {
            let length = match c {
                '\n' => {
                    line += 1;
                    1
                }
                c if c.is_whitespace() => c.len_utf8(),
                '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => {
                    let end = rest.find("*/").ok_or(Failure::new(line, "a comment without end"))?;
                    line += rest[..end].matches('\n').count() as u32;
                    end + 2
                }
                '"' => {
                    let end =
                        rest[1..].find('"').ok_or(Failure::new(line, "a string without end"))?;
                    all.push((Token::Text(&rest[1..=end]), line));
                    end + 2
                }
                c if word(c) => {
                    let length = word_length(rest);
                    all.push((Token::Word(&rest[..length]), line));
                    length
                }
                c => {
                    all.push((Token::Mark(c), line));
                    c.len_utf8()
                }
            };
            rest = &rest[length..];
        }
        all.push((Token::End, line));
        Ok(Self { all, next: 0 })
    }

    pub(crate) fn line(&self) -> u32 {
        self.all[self.next].1
    }

    pub(crate) fn peek(&self) -> Token<'a> {
        self.all[self.next].0
    }

    /// The token after the next one.
    pub(crate) fn peek_second(&self) -> Token<'a> {
        self.all.get(self.next + 1).map_or(Token::End, |t| t.0)
    }

    /// Takes a token; the end stays.
    pub(crate) fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next = (self.next + 1).min(self.all.len() - 1);
        token
    }

    /// Takes this mark if it comes next.
    pub(crate) fn accept(&mut self, mark: char) -> bool {
        let found = self.peek() == Token::Mark(mark);
        if found {
            self.take();
        }
        found
    }

    /// Takes this word if it comes next.
    pub(crate) fn accept_word(&mut self, word: &str) -> bool {
        let found = self.peek() == Token::Word(word);
        if found {
            self.take();
        }
        found
    }

    pub(crate) fn expect(&mut self, mark: char) -> Result<(), Failure> {
        let line = self.line();
        match self.take() {
            Token::Mark(m) if m == mark => Ok(()),
            other => Err(Failure::new(line, format!("expected '{mark}', found {other:?}"))),
        }
    }

    pub(crate) fn word(&mut self) -> Result<&'a str, Failure> {
        let line = self.line();
        match self.take() {
            Token::Word(word) => Ok(word),
            other => Err(Failure::new(line, format!("expected a name, found {other:?}"))),
        }
    }

    /// A decimal or hexadecimal number, with its sign if it has one.
    pub(crate) fn number(&mut self) -> Result<i64, Failure> {
        let line = self.line();
        let negative = self.accept('-');
        let word = self.word()?;
        let value = integer(word)
            .ok_or_else(|| Failure::new(line, format!("expected a number, found {word}")))?;
        Ok(if negative { (value as i64).wrapping_neg() } else { value as i64 })
    }

    /// A number from 0 to `most`.
    pub(crate) fn count(&mut self, most: u32) -> Result<u32, Failure> {
        let line = self.line();
        let number = self.number()?;
        u32::try_from(number).ok().filter(|n| *n <= most).ok_or_else(|| {
            Failure::new(line, format!("{number}, where at most {most} is expected"))
        })
    }

    /// Passes over all up to a semicolon.
    pub(crate) fn skip_statement(&mut self) -> Result<(), Failure> {
        while self.peek() != Token::End {
            if self.take() == Token::Mark(';') {
                return Ok(());
            }
        }
        Err(Failure::new(self.line(), "a statement without end"))
    }

    /// Passes over what stands between an opening brace, taken already, and its closing one.
    pub(crate) fn skip_braces(&mut self) -> Result<(), Failure> {
        let mut depth = 1;
        while depth > 0 {
            match self.take() {
                Token::Mark('{') => depth += 1,
                Token::Mark('}') => depth -= 1,
                Token::End => return Err(Failure::new(self.line(), "a brace without end")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The value of an unsigned integer literal.
pub(crate) fn integer(word: &str) -> Option<u64> {
    let word = word.strip_suffix('U').unwrap_or(word);
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}

fn word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.')
}

/// Length of the word at the start of a text; `::` belongs to it, a single colon does not.
fn word_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        if word(bytes[end] as char) {
            end += 1;
        } else if bytes[end..].starts_with(b"::") {
            end += 2;
        } else {
            break;
        }
    }
    end
}
