//! Where results go: standard output, or a file that appears only when it is whole.

use crate::failure::{Failure, Result};
use seq2seq_models::unfinished::{self, Unfinished};
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{self, BufWriter, StdoutLock, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// An open output.
#[derive(Debug)]
pub(crate) struct Output {
    writer: Writer,
    /// For messages.
    name: PathBuf,
}

#[derive(Debug)]
enum Writer {
    Stdout(BufWriter<StdoutLock<'static>>),
    /// A pipe or device, which cannot be replaced by another file.
    Direct(BufWriter<File>),
    /// Beside the target, whose name it takes at the end.
    Replacing {
        temporary: BufWriter<NamedTempFile>,
        /// Behind it, so as to be dropped after it.
        listed: Unfinished,
        target: PathBuf,
    },
}

impl Output {
    /// Opens the file, or standard output where none is named or `-`. Fails at once where it could not be written later.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path.filter(|path| !is_stdout(Some(path))) else {
            let writer = Writer::Stdout(BufWriter::new(io::stdout().lock()));
            return Ok(Self { writer, name: "standard output".into() });
        };
        let writer = Writer::file(path).map_err(|e| Failure::output(path, &e))?;
        Ok(Self { writer, name: path.into() })
    }

    /// One JSON value on a line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        // Every type we write has string keys, so that only writing itself can fail.
        let mut line = serde_json::to_vec(value).map_err(|e| Failure::Other(e.to_string()))?;
        line.push(b'\n');
        self.bytes(&line)
    }

    /// Text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let done = self.writer.get().write_all(bytes);
        done.map_err(|e| self.failed(&e))
    }

    /// Lets readers see what has been written.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let done = self.writer.get().flush();
        done.map_err(|e| self.failed(&e))
    }

    /// Ends the output; only now does a file take its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        match self.writer {
            Writer::Stdout(_) | Writer::Direct(_) => Ok(()),
            Writer::Replacing { temporary, listed, target } => {
                let put = || {
                    let file = temporary.into_inner().map_err(io::IntoInnerError::into_error)?;
                    file.as_file().sync_all()?;
                    file.persist(&target).map_err(|e| e.error)
                };
                let done = put().map(drop);
                drop(listed);
                done.map_err(|e| Failure::output(&self.name, &e))
            }
        }
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::output(&self.name, error)
    }
}

/// Whether this is standard output.
pub(crate) fn is_stdout(path: Option<&Path>) -> bool {
    path.is_none_or(|path| path == Path::new("-"))
}

/// Whether two outputs are one, of which the later would replace the earlier. Devices and pipes take both.
pub(crate) fn is_same(a: Option<&Path>, b: Option<&Path>) -> bool {
    match (is_stdout(a), is_stdout(b), a, b) {
        (false, false, Some(a), Some(b)) => {
            let replaced = fs::metadata(a).map_or(true, |found| found.is_file());
            replaced && resolved(a) == resolved(b)
        }
        (a, b, ..) => a && b,
    }
}

/// Where a file is or will be, links followed.
fn resolved(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = || Some(fs::canonicalize(folder).ok()?.join(path.file_name()?));
    fs::canonicalize(path).ok().or_else(new).unwrap_or_else(|| path.into())
}

impl Writer {
    fn file(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            Ok(found) if !found.is_file() => {
                Ok(Self::Direct(BufWriter::new(File::options().write(true).open(path)?)))
            }
            // Through links, so that these stay.
            Ok(found) => Self::replacing(fs::canonicalize(path)?, Some(found.permissions())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Self::replacing(path.into(), new_file())
            }
            Err(e) => Err(e),
        }
    }

    fn replacing(target: PathBuf, permissions: Option<fs::Permissions>) -> io::Result<Self> {
        if permissions.as_ref().is_some_and(fs::Permissions::readonly) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let folder =
            target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        if let Some(permissions) = permissions {
            builder.permissions(permissions);
        }
        builder.prefix(unfinished::PREFIX);
        let (listed, temporary) = Unfinished::list(|| builder.tempfile_in(folder))?;
        Ok(Self::Replacing { temporary: BufWriter::new(temporary), listed, target })
    }

    fn get(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(w) => w,
            Self::Direct(w) => w,
            Self::Replacing { temporary, .. } => temporary,
        }
    }
}

/// What a new file may be used for, less what the process' mask takes away: temporary files are private otherwise.
#[cfg(unix)]
fn new_file() -> Option<fs::Permissions> {
    Some(std::os::unix::fs::PermissionsExt::from_mode(0o666))
}

#[cfg(not(unix))]
fn new_file() -> Option<fs::Permissions> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "before").unwrap();
        let mut abandoned = Output::open(Some(&path)).unwrap();
        abandoned.text("half").unwrap();
        drop(abandoned);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        let mut output = Output::open(Some(&path)).unwrap();
        output.json(&1).unwrap();
        output.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_fails_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("no/such/folder")] {
            assert!(matches!(Output::open(Some(&path)), Err(Failure::Other(_))), "{path:?}");
        }
    }

    #[test]
    fn outputs_that_are_one_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let dotted = folder.path().join(".").join("a");
        assert!(is_same(Some(&a), Some(&dotted)) && !is_same(Some(&a), Some(&b)));
        fs::write(&a, "").unwrap();
        assert!(is_same(Some(&a), Some(&dotted)) && !is_same(Some(&a), Some(&b)));
        let stdout = Some(Path::new("-"));
        assert!(is_same(None, stdout) && !is_same(stdout, Some(&a)) && !is_same(Some(&a), None));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&a, &b).unwrap();
            assert!(is_same(Some(&a), Some(&b)));
            let device = Some(Path::new("/dev/null"));
            assert!(!is_same(device, device));
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_and_modes_stay() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut output = Output::open(Some(&link)).unwrap();
        output.text("new").unwrap();
        output.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
