//! What stands outside of functions.

use super::draft::Outer;
use super::function::{Head, body};
use super::lexer::{Token, Tokens};
use super::names::{Name, Names};
use super::{Failure, Parsed, Type};
use crate::program::{Function, Variable};

/// Name, alignment and size of a variable or parameter.
pub(crate) struct Declaration {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) align: u32,
    pub(crate) bytes: u32,
}

/// Reads a module.
pub(crate) fn module(mut tokens: Tokens<'_>) -> Result<Parsed, Failure> {
    let mut reader = Reader {
        tokens: &mut tokens,
        parsed: Parsed::default(),
        names: Names::default(),
        outer: Outer::default(),
    };
    reader.names.open();
    while reader.tokens.peek() != Token::End {
        reader.item()?;
    }
    Ok(reader.parsed)
}

struct Reader<'t, 'a> {
    tokens: &'t mut Tokens<'a>,
    parsed: Parsed,
    names: Names,
    outer: Outer,
}

impl Reader<'_, '_> {
    fn item(&mut self) -> Result<(), Failure> {
        let line = self.tokens.line();
        let mut external = false;
        loop {
            match self.tokens.word()? {
                ".visible" | ".weak" | ".common" => {}
                ".extern" => external = true,
                ".version" | ".address_size" => {
                    self.tokens.word()?;
                    return Ok(());
                }
                ".target" => {
                    self.tokens.word()?;
                    while self.tokens.accept(',') {
                        self.tokens.word()?;
                    }
                    return Ok(());
                }
                ".file" => return self.file(),
                ".pragma" => {
                    return self.tokens.skip_statement();
                }
                ".section" => {
                    self.tokens.word()?;
                    self.tokens.expect('{')?;
                    return self.tokens.skip_braces();
                }
                ".entry" => return self.function(true),
                ".func" => return self.function(false),
                ".shared" => return self.shared(external),
                ".global" => return self.variable(false, external),
                ".const" => return self.variable(true, external),
                other => {
                    return Err(Failure::new(line, format!("directive {other} is not known")));
                }
            }
        }
    }

    /// `.file number "name"`
    fn file(&mut self) -> Result<(), Failure> {
        let number = self.tokens.number()? as u32;
        let line = self.tokens.line();
        let Token::Text(name) = self.tokens.take() else {
            return Err(Failure::new(line, "a file without a name"));
        };
        self.parsed.files.insert(number, name.to_owned());
        while self.tokens.accept(',') {
            self.tokens.number()?;
        }
        Ok(())
    }

    fn shared(&mut self, external: bool) -> Result<(), Failure> {
        let d = declaration(self.tokens)?;
        if external {
            self.outer.dynamic_align = self.outer.dynamic_align.max(d.align);
            self.names.add(&d.name, Name::Dynamic);
        } else {
            self.names.add(&d.name, Name::ModuleShared(self.outer.shared.len() as u32));
            self.outer.shared.push((d.align, d.bytes));
        }
        self.tokens.expect(';')
    }

    fn variable(&mut self, constant: bool, external: bool) -> Result<(), Failure> {
        let line = self.tokens.line();
        let d = declaration(self.tokens)?;
        if external {
            return Err(Failure::new(line, format!("variable {} of another module", d.name)));
        }
        let mut initial = Vec::new();
        if self.tokens.accept('=') {
            self.initial(d.kind, &mut initial)?;
        }
        self.names.add(&d.name, Name::Global(self.parsed.variables.len() as u32));
        let bytes = u64::from(d.bytes);
        self.parsed.variables.push(Variable { name: d.name, bytes, initial, constant });
        self.tokens.expect(';')
    }

    /// Numbers in nested braces.
    fn initial(&mut self, kind: Type, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        if self.tokens.accept('{') {
            while !self.tokens.accept('}') {
                self.initial(kind, bytes)?;
                self.tokens.accept(',');
            }
            return Ok(());
        }
        let line = self.tokens.line();
        let value = match self.tokens.peek() {
            Token::Word(w) if w.starts_with("0f") || w.starts_with("0d") => {
                self.tokens.take();
                u64::from_str_radix(&w[2..], 16)
                    .map_err(|_| Failure::new(line, format!("number {w}")))?
            }
            _ => self.tokens.number()? as u64,
        };
        bytes.extend(&value.to_le_bytes()[..kind.bytes() as usize]);
        Ok(())
    }

    fn function(&mut self, entry: bool) -> Result<(), Failure> {
        let mut returns = Vec::new();
        if !entry && self.tokens.peek() == Token::Mark('(') {
            returns = self.parameters()?;
        }
        let name = self.tokens.word()?.to_owned();
        let mut parameters = Vec::new();
        if self.tokens.peek() == Token::Mark('(') {
            parameters = self.parameters()?;
        }
        let mut head =
            Head { name, entry, returns, parameters, max_threads: None, required_block: None };
        self.limits(&mut head)?;
        let index = self.outer.functions.get(&head.name).copied().unwrap_or_else(|| {
            let index = self.parsed.functions.len() as u32;
            self.parsed.functions.push(Function { name: head.name.clone(), ..Function::default() });
            self.outer.functions.insert(head.name.clone(), index);
            index
        });
        if self.tokens.accept(';') {
            return Ok(());
        }
        self.tokens.expect('{')?;
        let function = body(self.tokens, &head, self.names.clone(), &self.outer)?;
        self.parsed.functions[index as usize] = function;
        Ok(())
    }

    fn parameters(&mut self) -> Result<Vec<Declaration>, Failure> {
        self.tokens.expect('(')?;
        let mut all = Vec::new();
        while !self.tokens.accept(')') {
            let line = self.tokens.line();
            match self.tokens.word()? {
                ".param" => all.push(declaration(self.tokens)?),
                other => return Err(Failure::new(line, format!("parameter in {other}"))),
            }
            self.tokens.accept(',');
        }
        Ok(all)
    }

    /// Directives between a kernel's parameters and its body.
    fn limits(&mut self, head: &mut Head) -> Result<(), Failure> {
        while let Token::Word(word) = self.tokens.peek() {
            let line = self.tokens.line();
            self.tokens.take();
            match word {
                ".maxntid" => head.max_threads = Some(self.triple()?.iter().product()),
                ".reqntid" => head.required_block = Some(self.triple()?),
                ".minnctapersm" | ".maxnreg" | ".maxclusterrank" => {
                    self.tokens.number()?;
                }
                ".noreturn" => {}
                other => {
                    return Err(Failure::new(line, format!("directive {other} is not known")));
                }
            }
        }
        Ok(())
    }

    fn triple(&mut self) -> Result<[u32; 3], Failure> {
        let mut all = [self.tokens.number()? as u32, 1, 1];
        for axis in &mut all[1..] {
            if !self.tokens.accept(',') {
                break;
            }
            *axis = self.tokens.number()? as u32;
        }
        Ok(all)
    }
}

/// `.align 4 .type name[2][3]`, with attributes of pointers in between.
pub(crate) fn declaration(tokens: &mut Tokens<'_>) -> Result<Declaration, Failure> {
    let (mut align, mut kind, mut pointer) = (None, None, false);
    loop {
        let line = tokens.line();
        let word = tokens.word()?;
        match word {
            ".align" if pointer => {
                tokens.number()?;
            }
            ".align" => align = Some(tokens.count(1 << 12)?),
            ".ptr" => pointer = true,
            ".global" | ".shared" | ".const" | ".local" if pointer => {}
            _ if word.starts_with('.') => match Type::of(&word[1..]) {
                Some(t) => kind = Some(t),
                None => return Err(Failure::new(line, format!("declaration with {word}"))),
            },
            name => {
                let kind = kind.ok_or_else(|| Failure::new(line, format!("{name} has no type")))?;
                let mut bytes = kind.bytes() as u32;
                while tokens.accept('[') {
                    if tokens.peek() == Token::Mark(']') {
                        bytes = 0;
                    } else {
                        bytes = size(bytes, tokens)?;
                    }
                    tokens.expect(']')?;
                }
                let align = align.unwrap_or(kind.bytes() as u32).max(1);
                return Ok(Declaration { name: name.to_owned(), kind, align, bytes });
            }
        }
    }
}

/// So many times the bytes of an element.
fn size(bytes: u32, tokens: &mut Tokens<'_>) -> Result<u32, Failure> {
    let line = tokens.line();
    let count = tokens.number()?;
    let all = u32::try_from(count).ok().and_then(|count| bytes.checked_mul(count));
    all.filter(|all| *all <= 1 << 30)
        .ok_or_else(|| Failure::new(line, format!("a variable of {count} times {bytes} bytes")))
}
