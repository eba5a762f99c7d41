//! What names mean, from the innermost braces outwards.

use std::collections::HashMap;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// A register of the function.
    Register(u32),
    /// A predicate of the function.
    Predicate(u32),
    /// Offset of a variable in the function's frame: `.local`, and `.param` of device functions and calls.
    Frame(u32),
    /// Offset of a kernel's parameter.
    Parameter(u32),
    /// Offset of a variable in the shared memory of the block.
    Shared(u32),
    /// `extern` shared memory, after all other variables.
    Dynamic,
    /// Index of a module's shared variable, placed when a kernel first uses it.
    ModuleShared(u32),
    /// Index of a module's variable in device memory.
    Global(u32),
}

/// Names in nested braces.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    scopes: Vec<HashMap<String, Name>>,
    /// Families of numbered registers, `%r<25>`: prefix, count, first index.
    families: Vec<Vec<(String, u32, Name)>>,
}

impl Names {
    /// Opens braces.
    pub(crate) fn open(&mut self) {
        self.scopes.push(HashMap::new());
        self.families.push(Vec::new());
    }

    /// Closes the innermost braces.
    pub(crate) fn close(&mut self) {
        self.scopes.pop();
        self.families.pop();
    }

    /// Gives a name a meaning in the innermost braces.
    pub(crate) fn add(&mut self, name: &str, meaning: Name) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), meaning);
        }
    }

    /// Gives `prefix0`, `prefix1`, … consecutive meanings, from `first` on.
    pub(crate) fn add_family(&mut self, prefix: &str, count: u32, first: Name) {
        if let Some(families) = self.families.last_mut() {
            families.push((prefix.to_owned(), count, first));
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Name> {
        let digits = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
        let number = name[digits..].parse::<u32>().ok();
        self.scopes.iter().zip(&self.families).rev().find_map(|(scope, families)| {
            scope.get(name).copied().or_else(|| {
                let number = number?;
                let (_, _, first) = families
                    .iter()
                    .find(|(p, count, _)| *p == name[..digits] && number < *count)?;
                Some(match first {
                    Name::Predicate(index) => Name::Predicate(index + number),
                    Name::Register(index) => Name::Register(index + number),
                    other => *other,
                })
            })
        })
    }
}
