//! The body of a function.

use super::directives::{Declaration, declaration};
use super::draft::{Draft, Outer};
use super::lexer::{Token, Tokens};
use super::names::{Name, Names};
use super::operands::{Operand, operand};
use super::{Failure, Line, Type};
use crate::isa::Op;
use crate::program::{Function, Instruction, Parameter, Predicate};
use std::collections::HashMap;

/// What stands before a body.
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) entry: bool,
    pub(crate) returns: Vec<Declaration>,
    pub(crate) parameters: Vec<Declaration>,
    pub(crate) max_threads: Option<u32>,
    pub(crate) required_block: Option<[u32; 3]>,
}

/// Reads a body, whose opening brace was taken.
pub(crate) fn body(
    tokens: &mut Tokens<'_>,
    head: &Head,
    names: Names,
    outer: &Outer,
) -> Result<Function, Failure> {
    let mut draft = Draft::new(&head.name, head.entry, names, outer);
    draft.function.max_threads = head.max_threads;
    draft.function.required_block = head.required_block;
    draft.function.defined = true;
    parameters(&mut draft, head);
    let (mut depth, mut source, mut inlined) = (1, (0, 0), Inlined::default());
    while depth > 0 {
        let line = tokens.line();
        match (tokens.peek(), tokens.peek_second()) {
            (Token::Mark('{'), _) => {
                tokens.take();
                draft.open();
                depth += 1;
            }
            (Token::Mark('}'), _) => {
                tokens.take();
                draft.close();
                depth -= 1;
            }
            (Token::Mark(';'), _) => {
                tokens.take();
            }
            (Token::Word(".loc"), _) => source = location(tokens, &mut inlined)?,
            (Token::Word(word), Token::Mark(':')) => {
                tokens.take();
                tokens.take();
                label(tokens, &mut draft, word, line)?;
            }
            (Token::Word(word), _) if word.starts_with('.') => statement(tokens, &mut draft)?,
            (Token::Word(_) | Token::Mark('@'), _) => {
                instruction(tokens, &mut draft, source)?;
            }
            (other, _) => return Err(Failure::new(line, format!("unexpected {other:?}"))),
        }
    }
    draft.finish(tokens.line())
}

/// Parameters of a kernel lie in a space of their own, those of a device function in its frame.
fn parameters(draft: &mut Draft<'_>, head: &Head) {
    let mut offset = 0u32;
    for p in &head.parameters {
        let start = if head.entry {
            let start = offset.next_multiple_of(p.align);
            offset = start.saturating_add(p.bytes).min(1 << 30);
            draft.names.add(&p.name, Name::Parameter(start));
            start
        } else {
            let start = draft.frame(p.align, p.bytes);
            draft.names.add(&p.name, Name::Frame(start));
            start
        };
        draft.function.parameters.push(Parameter { offset: start, bytes: p.bytes });
    }
    for r in &head.returns {
        let start = draft.frame(r.align, r.bytes);
        draft.names.add(&r.name, Name::Frame(start));
        draft.function.returns.push(Parameter { offset: start, bytes: r.bytes });
    }
}

/// For each place of the source that is inlined, the innermost one of its callers, itself included, that lies in the
/// file of the outermost one: what a message is to name, rather than a line of a header.
#[derive(Default)]
struct Inlined(HashMap<[u32; 3], [u32; 3]>);

/// `.loc file line column [, function_name label, inlined_at file line column]`; the file and line to tell of.
fn location(tokens: &mut Tokens<'_>, inlined: &mut Inlined) -> Result<(u32, u32), Failure> {
    tokens.take();
    let mut place = triple(tokens)?;
    while tokens.accept(',') {
        match tokens.word()? {
            "function_name" => {
                tokens.word()?;
                if tokens.accept('+') {
                    tokens.number()?;
                }
            }
            "inlined_at" => {
                let at = triple(tokens)?;
                let caller = inlined.0.get(&at).copied().unwrap_or(at);
                let told = if place[0] == caller[0] { place } else { caller };
                inlined.0.insert(place, told);
                place = told;
            }
            other => return Err(Failure::new(tokens.line(), format!(".loc with {other}"))),
        }
    }
    Ok((place[0], place[1]))
}

fn triple(tokens: &mut Tokens<'_>) -> Result<[u32; 3], Failure> {
    Ok([tokens.number()? as u32, tokens.number()? as u32, tokens.number()? as u32])
}

/// What follows `name:`.
fn label(
    tokens: &mut Tokens<'_>,
    draft: &mut Draft<'_>,
    name: &str,
    line: u32,
) -> Result<(), Failure> {
    if !tokens.accept_word(".branchtargets") {
        return draft.label(name, line);
    }
    let mut labels = Vec::new();
    loop {
        let line = tokens.line();
        labels.push((tokens.word()?.to_owned(), line));
        if !tokens.accept(',') {
            break;
        }
    }
    tokens.expect(';')?;
    draft.table(name, labels);
    Ok(())
}

/// A directive in a body.
fn statement(tokens: &mut Tokens<'_>, draft: &mut Draft<'_>) -> Result<(), Failure> {
    let line = tokens.line();
    match tokens.word()? {
        ".pragma" => tokens.skip_statement(),
        ".reg" => registers(tokens, draft),
        space @ (".local" | ".param" | ".shared") => {
            let d = declaration(tokens)?;
            let name = if space == ".shared" {
                Name::Shared(draft.shared(d.align, d.bytes))
            } else {
                Name::Frame(draft.frame(d.align, d.bytes))
            };
            draft.names.add(&d.name, name);
            tokens.expect(';')
        }
        other => Err(Failure::new(line, format!("directive {other} is not known"))),
    }
}

/// `.reg .type name<count>, name;`
fn registers(tokens: &mut Tokens<'_>, draft: &mut Draft<'_>) -> Result<(), Failure> {
    let line = tokens.line();
    let word = tokens.word()?;
    let kind = word.strip_prefix('.').and_then(Type::of);
    let kind = kind.ok_or_else(|| Failure::new(line, format!("registers of type {word}")))?;
    if kind == Type::B128 {
        return Err(Failure::new(line, "registers of 128 bits are not supported"));
    }
    loop {
        let name = tokens.word()?;
        let count = if tokens.accept('<') {
            let count = tokens.count(1 << 20)?;
            tokens.expect('>')?;
            Some(count)
        } else {
            None
        };
        let f = &mut draft.function;
        let (total, first) = match kind {
            Type::Pred => {
                let first = Name::Predicate(f.predicates);
                (&mut f.predicates, first)
            }
            _ => {
                let first = Name::Register(f.registers);
                (&mut f.registers, first)
            }
        };
        *total += count.unwrap_or(1);
        match count {
            Some(count) => draft.names.add_family(name, count, first),
            None => draft.names.add(name, first),
        }
        if !tokens.accept(',') {
            return tokens.expect(';');
        }
    }
}

/// `@p opcode operands;`
fn instruction(
    tokens: &mut Tokens<'_>,
    draft: &mut Draft<'_>,
    source: (u32, u32),
) -> Result<(), Failure> {
    let line = tokens.line();
    let guard = if tokens.accept('@') {
        match operand(tokens, &draft.names)? {
            Operand::Predicate { index, negated } => Some(Predicate { index, negated }),
            other => return Err(Failure::new(line, format!("guard {other:?}"))),
        }
    } else {
        None
    };
    let line = tokens.line();
    let opcode = tokens.word()?;
    let mut operands = Vec::new();
    if !tokens.accept(';') {
        loop {
            operands.push(operand(tokens, &draft.names)?);
            if !tokens.accept(',') {
                break;
            }
        }
        tokens.expect(';')?;
    }
    let op = Op::parse(&mut Line::new(line, opcode, operands, draft))?;
    draft.function.proxied |= matches!(op, Op::Wgmma(_));
    draft.function.code.push(Instruction { guard, op, line, source });
    Ok(())
}
