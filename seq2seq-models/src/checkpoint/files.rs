//! Where the files of a model come from: a folder, or bytes that the program holds.

use super::mapping::Mapped;
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The files of one model, by their names in its folder (`config.json`, `1_Pooling/config.json`).
///
/// A program can hold its model itself:
///
/// ```
/// use seq2seq_models::{Files, LoadOptions, Model, Tokenizer};
/// use std::borrow::Cow;
///
/// macro_rules! held {
///     ($name:literal) => {
///         ($name, Cow::Borrowed(&include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/bert/", $name))[..]))
///     };
/// }
///
/// let files = Files::embedded("my model", [held!("config.json"), held!("model.safetensors"), held!("tokenizer.json")]);
/// let model = Model::load_files(files, &LoadOptions::default())?;
/// let tokenizer = Tokenizer::from_files(model.files())?;
/// assert_eq!(tokenizer.vocab_size(), model.plan().input_vocab());
/// assert!(!model.files().contains("generation_config.json")); // as this model does not write
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Clone)]
pub struct Files {
    /// The folder; for embedded files only what messages call it.
    root: PathBuf,
    embedded: Option<Arc<BTreeMap<String, Embedded>>>,
}

type Embedded = Arc<Cow<'static, [u8]>>;

impl Files {
    /// The files of a folder.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self> {
        let root = path.into();
        match std::fs::metadata(&root) {
            Ok(m) if m.is_dir() => Ok(Self { root, embedded: None }),
            Ok(_) => {
                Err(Error::file(root, "is not a folder; give the folder that holds config.json"))
            }
            Err(e) => Err(Error::io(root, e)),
        }
    }

    /// Files that the program holds, such as those of `include_bytes!`; `name` stands for the folder in messages.
    pub fn embedded<N: Into<String>>(
        name: &str,
        files: impl IntoIterator<Item = (N, Cow<'static, [u8]>)>,
    ) -> Self {
        let files = files.into_iter().map(|(n, bytes)| (n.into(), Arc::new(bytes))).collect();
        Self { root: PathBuf::from(name), embedded: Some(Arc::new(files)) }
    }

    /// The folder, or the name of the embedded files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a file, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether there is such a file.
    pub fn contains(&self, name: &str) -> bool {
        match &self.embedded {
            Some(files) => files.contains_key(name),
            None => self.path(name).is_file(),
        }
    }

    /// The names of the files in order: those in the folder itself, and those in its folders as `folder/name`.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        if let Some(files) = &self.embedded {
            return Ok(files.keys().cloned().collect());
        }
        let mut names = Vec::new();
        for (name, path) in list(&self.root)? {
            if path.is_dir() {
                let inner = list(&path)?.into_iter().filter(|(_, path)| path.is_file());
                names.extend(inner.map(|(inner, _)| format!("{name}/{inner}")));
            } else {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The files beside the weights that belong to a model, and their bytes: configuration, tokenizer, and the modules
    /// of sentence-transformers.
    pub(crate) fn carried(&self) -> Result<Vec<(String, Vec<u8>)>> {
        const ENDS: [&str; 5] = [".json", ".txt", ".model", ".spm", ".jinja"];
        let is = |name: &String| {
            ENDS.iter().any(|end| name.ends_with(end))
                // A list of the old weights' files.
                && !name.ends_with(".index.json")
                && (!name.contains('/') || name.ends_with("/config.json"))
        };
        let file = |name: String| {
            let gone = || Error::io(self.path(&name), ErrorKind::NotFound.into());
            let bytes = self.read(&name)?.ok_or_else(gone)?;
            Ok((name, bytes))
        };
        self.names()?.into_iter().filter(is).map(file).collect()
    }

    /// The bytes of a file, copied; `None` where there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if let Some(files) = &self.embedded {
            return Ok(files.get(name).map(|bytes| bytes.to_vec()));
        }
        let path = self.path(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(path, e)),
        }
    }

    /// The bytes of a file, mapped and shared; `None` where there is no such file.
    /// The file must not be rewritten in place while they are in use.
    pub(crate) fn map(&self, name: &str) -> Result<Option<Mapped>> {
        if let Some(files) = &self.embedded {
            return Ok(files.get(name).map(|bytes| Mapped::in_memory(bytes.clone())));
        }
        match Mapped::open(&self.path(name)) {
            Ok(mapped) => Ok(Some(mapped)),
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A JSON file, read as `T`; `None` where there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no JSON or not that of a `T`: what is wrong, and where in it.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| Error::file(self.path(name), format!("is not the JSON expected: {e}")))
    }
}

/// What is in a folder: names and paths. Names that are no text are passed over, as no model has such files.
fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |e| Error::io(folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_files_read_as_those_of_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.json"), "[1]").unwrap();
        let on_disk = Files::folder(dir.path()).unwrap();
        let held = Files::embedded("held", [("a.json", Cow::Borrowed(&b"[1]"[..]))]);
        for files in [on_disk, held] {
            assert_eq!(files.json::<Vec<u8>>("a.json").unwrap(), Some(vec![1]));
            assert_eq!((*files.map("a.json").unwrap().unwrap().bytes).as_ref(), b"[1]");
            assert!(files.read("b").unwrap().is_none() && files.map("b").unwrap().is_none());
            assert!(files.contains("a.json") && !files.contains("b"));
            assert_eq!(files.names().unwrap(), ["a.json"]);
            let error = files.json::<String>("a.json").unwrap_err().to_string();
            assert!(error.contains("a.json"), "{error}");
        }
    }

    #[test]
    fn a_folder_must_be_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Files::folder(&file), Err(Error::File { .. })));
        assert!(matches!(Files::folder(dir.path().join("y")), Err(Error::Io { .. })));
    }
}
