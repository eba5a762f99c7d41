//! Operands as they are written, with their names resolved.

use super::lexer::{Token, Tokens, integer};
use super::names::{Name, Names};
use super::{Failure, Special};

/// An operand.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// A register that holds a value.
    Register(u32),
    /// A predicate, negated by `!`.
    Predicate { index: u32, negated: bool },
    /// A number: an integer, or the bits of a float.
    Number(u64),
    /// A special register.
    Special(Special),
    /// A variable, and a distance from its start.
    Variable { name: Name, offset: i64 },
    /// `{a, b}`
    Vector(Vec<Operand>),
    /// `(a, b)`
    List(Vec<Operand>),
    /// `[a + offset]`, with more parts in some instructions.
    Memory { base: Box<Operand>, offset: i64 },
    /// `a | b`
    Pair(Box<Operand>, Box<Operand>),
    /// `_`, which takes no value.
    Sink,
    /// A label or a function.
    Label(String),
}

/// Reads one operand.
pub(crate) fn operand(tokens: &mut Tokens<'_>, names: &Names) -> Result<Operand, Failure> {
    let first = single(tokens, names)?;
    if tokens.accept('|') {
        let second = single(tokens, names)?;
        return Ok(Operand::Pair(Box::new(first), Box::new(second)));
    }
    Ok(first)
}

/// Reads operands, divided by commas, up to a closing mark.
pub(crate) fn operands(
    tokens: &mut Tokens<'_>,
    names: &Names,
    close: char,
) -> Result<Vec<Operand>, Failure> {
    let mut all = Vec::new();
    while !tokens.accept(close) {
        all.push(operand(tokens, names)?);
        if !tokens.accept(',') {
            tokens.expect(close)?;
            break;
        }
    }
    Ok(all)
}

fn single(tokens: &mut Tokens<'_>, names: &Names) -> Result<Operand, Failure> {
    let line = tokens.line();
    match tokens.take() {
        Token::Mark('{') => Ok(Operand::Vector(operands(tokens, names, '}')?)),
        Token::Mark('(') => Ok(Operand::List(operands(tokens, names, ')')?)),
        Token::Mark('[') => {
            let base = Box::new(word(tokens.word()?, names, line)?);
            let offset = offset(tokens)?;
            tokens.expect(']')?;
            Ok(Operand::Memory { base, offset })
        }
        Token::Mark('!') => match word(tokens.word()?, names, line)? {
            Operand::Predicate { index, negated } => {
                Ok(Operand::Predicate { index, negated: !negated })
            }
            other => Err(Failure::new(line, format!("'!' before {other:?}"))),
        },
        Token::Mark('-') => {
            let text = tokens.word()?;
            match literal(text) {
                Some(value) => Ok(Operand::Number(value.wrapping_neg())),
                None => Err(Failure::new(line, format!("expected a number, found -{text}"))),
            }
        }
        Token::Word(text) => match word(text, names, line)? {
            Operand::Variable { name, .. } => {
                Ok(Operand::Variable { name, offset: offset(tokens)? })
            }
            other => Ok(other),
        },
        other => Err(Failure::new(line, format!("expected an operand, found {other:?}"))),
    }
}

/// `+ 16`, `+ -16`, `- 16`, or nothing.
fn offset(tokens: &mut Tokens<'_>) -> Result<i64, Failure> {
    if tokens.accept('+') || tokens.peek() == Token::Mark('-') { tokens.number() } else { Ok(0) }
}

fn word(text: &str, names: &Names, line: u32) -> Result<Operand, Failure> {
    if text == "_" {
        return Ok(Operand::Sink);
    }
    if let Some(name) = names.get(text) {
        return Ok(match name {
            Name::Register(index) => Operand::Register(index),
            Name::Predicate(index) => Operand::Predicate { index, negated: false },
            name => Operand::Variable { name, offset: 0 },
        });
    }
    if let Some(value) = literal(text) {
        return Ok(Operand::Number(value));
    }
    if text.starts_with('%') {
        return Special::of(text)
            .map(Operand::Special)
            .ok_or_else(|| Failure::new(line, format!("unknown register {text}")));
    }
    Ok(Operand::Label(text.to_owned()))
}

/// An integer, `0f` and the bits of an f32, or `0d` and the bits of an f64.
fn literal(text: &str) -> Option<u64> {
    let bits = |prefixes: [&str; 2]| prefixes.iter().find_map(|p| text.strip_prefix(p));
    if let Some(hex) = bits(["0f", "0F"]).or_else(|| bits(["0d", "0D"])) {
        return u64::from_str_radix(hex, 16).ok();
    }
    integer(text)
}
