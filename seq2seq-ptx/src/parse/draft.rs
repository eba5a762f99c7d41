//! A function while it is read.

use super::Failure;
use super::names::{Name, Names};
use crate::isa::Op;
use crate::isa::control::Control;
use crate::program::{Constant, Function, Source};
use std::collections::HashMap;

/// Functions and shared variables of the module, which a function's body refers to.
#[derive(Debug, Default)]
pub(crate) struct Outer {
    pub(crate) functions: HashMap<String, u32>,
    /// Alignment and bytes of the module's shared variables.
    pub(crate) shared: Vec<(u32, u32)>,
    /// Largest alignment of an `extern` shared variable.
    pub(crate) dynamic_align: u32,
}

/// A function while it is read.
pub(crate) struct Draft<'o> {
    pub(crate) function: Function,
    pub(crate) names: Names,
    pub(crate) outer: &'o Outer,
    constants: HashMap<Constant, Source>,
    placed: HashMap<u32, u32>,
    /// Open braces, by number.
    scopes: Vec<u32>,
    scope_count: u32,
    labels: HashMap<(u32, String), u32>,
    tables: HashMap<(u32, String), Vec<(String, u32)>>,
    /// Branches whose labels are still to be found: instruction, scopes, label, line.
    branches: Vec<(usize, Vec<u32>, String, u32)>,
}

/// Local memory that a thread can have.
const MOST_LOCAL: u32 = 512 * 1024;
/// Static shared memory of which a block can have a part.
const MOST_SHARED: u32 = 1 << 20;

/// Takes room at the end of a memory; one that is far too large stays so.
fn room(end: &mut u32, align: u32, bytes: u32) -> u32 {
    let offset = end.checked_next_multiple_of(align.max(1)).unwrap_or(u32::MAX);
    *end = offset.saturating_add(bytes);
    offset
}

impl<'o> Draft<'o> {
    pub(crate) fn new(name: &str, entry: bool, names: Names, outer: &'o Outer) -> Self {
        let function = Function {
            name: name.to_owned(),
            entry,
            registers: 1,
            predicates: 1,
            dynamic_align: outer.dynamic_align,
            ..Function::default()
        };
        let mut draft = Self {
            function,
            names,
            outer,
            constants: HashMap::new(),
            placed: HashMap::new(),
            scopes: Vec::new(),
            scope_count: 0,
            labels: HashMap::new(),
            tables: HashMap::new(),
            branches: Vec::new(),
        };
        draft.open();
        draft
    }

    pub(crate) fn open(&mut self) {
        self.names.open();
        self.scopes.push(self.scope_count);
        self.scope_count += 1;
    }

    pub(crate) fn close(&mut self) {
        self.names.close();
        self.scopes.pop();
    }

    /// A constant, made once.
    pub(crate) fn constant(&mut self, constant: Constant) -> Source {
        let list = &mut self.function.constants;
        *self.constants.entry(constant).or_insert_with(|| {
            list.push(constant);
            Source::constant(list.len() - 1)
        })
    }

    /// Room in the frame.
    pub(crate) fn frame(&mut self, align: u32, bytes: u32) -> u32 {
        room(&mut self.function.frame, align, bytes)
    }

    /// Room in the static shared memory.
    pub(crate) fn shared(&mut self, align: u32, bytes: u32) -> u32 {
        room(&mut self.function.shared, align, bytes)
    }

    /// The address of a variable, and whether it counts from the frame.
    pub(crate) fn variable(&mut self, name: Name, offset: i64) -> Result<(Constant, bool), String> {
        let at = |start: u32| Constant::Bits(i64::from(start).wrapping_add(offset) as u64);
        Ok(match name {
            Name::Frame(start) => (at(start), true),
            Name::Parameter(start) | Name::Shared(start) => (at(start), false),
            Name::Dynamic => (Constant::Dynamic(offset), false),
            Name::Global(index) => (Constant::Global { index, offset }, false),
            Name::ModuleShared(index) => {
                let (align, bytes) = self.outer.shared[index as usize];
                let start = match self.placed.get(&index) {
                    Some(start) => *start,
                    None if !self.function.entry => {
                        return Err("shared variables of device functions are not supported".into());
                    }
                    None => self.shared(align, bytes),
                };
                self.placed.insert(index, start);
                (at(start), false)
            }
            Name::Register(_) | Name::Predicate(_) => return Err("a register as a variable".into()),
        })
    }

    /// A label before the next instruction.
    pub(crate) fn label(&mut self, name: &str, line: u32) -> Result<(), Failure> {
        let scope = self.scopes.last().copied().unwrap_or(0);
        let at = self.function.code.len() as u32;
        match self.labels.insert((scope, name.to_owned()), at) {
            None => Ok(()),
            Some(_) => Err(Failure::new(line, format!("label {name} stands twice"))),
        }
    }

    /// The labels of a `.branchtargets`.
    pub(crate) fn table(&mut self, name: &str, labels: Vec<(String, u32)>) {
        let scope = self.scopes.last().copied().unwrap_or(0);
        self.tables.insert((scope, name.to_owned()), labels);
    }

    /// Notes that the instruction pushed next branches to a label.
    pub(crate) fn branch(&mut self, label: &str, line: u32) {
        let at = self.function.code.len();
        self.branches.push((at, self.scopes.clone(), label.to_owned(), line));
    }

    /// Puts positions in place of labels.
    ///
    /// # Errors
    /// Labels that are not there, and more memory than a thread or a block has. `line` is where the function ends.
    pub(crate) fn finish(mut self, line: u32) -> Result<Function, Failure> {
        let (frame, shared) = (self.function.frame, self.function.shared);
        if frame > MOST_LOCAL || shared > MOST_SHARED {
            let what = format!("{frame} bytes of local and {shared} of shared memory");
            return Err(Failure::new(line, what));
        }
        for (at, scopes, label, line) in std::mem::take(&mut self.branches) {
            match &self.function.code[at].op {
                Op::Control(Control::BranchTable { .. }) => {
                    let labels = Self::find(&self.tables, &scopes, &label, line)?.clone();
                    let found: Result<Vec<u32>, _> = labels
                        .iter()
                        .map(|(label, line)| {
                            Self::find(&self.labels, &scopes, label, *line).copied()
                        })
                        .collect();
                    let found = found?;
                    if let Op::Control(Control::BranchTable { targets, .. }) =
                        &mut self.function.code[at].op
                    {
                        *targets = found;
                    }
                }
                _ => {
                    let found = *Self::find(&self.labels, &scopes, &label, line)?;
                    if let Op::Control(Control::Branch { target, .. }) =
                        &mut self.function.code[at].op
                    {
                        *target = found;
                    }
                }
            }
        }
        Ok(self.function)
    }

    fn find<'m, T>(
        map: &'m HashMap<(u32, String), T>,
        scopes: &[u32],
        label: &str,
        line: u32,
    ) -> Result<&'m T, Failure> {
        scopes
            .iter()
            .rev()
            .find_map(|scope| map.get(&(*scope, label.to_owned())))
            .ok_or_else(|| Failure::new(line, format!("label {label} is not there")))
    }
}
