//! Folders that appear when all is written, or not at all.

use crate::{Error, Result, new_file, unfinished::Unfinished};
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder that is being written beside the place that it will take. It is removed again unless it takes it.
pub(crate) struct NewFolder {
    temporary: TempDir,
    /// Behind it, so as to be dropped after it.
    _listed: Unfinished,
    output: PathBuf,
    /// `output`, links followed.
    target: PathBuf,
}

impl NewFolder {
    /// Fails where `output` is something else than an empty folder.
    pub(crate) fn at(output: &Path) -> Result<Self> {
        let target = target(output)?;
        let made = Unfinished::list(|| temporary(&target));
        let (listed, temporary) = made.map_err(|e| Error::write(output, e))?;
        Ok(Self { temporary, _listed: listed, output: output.into(), target })
    }

    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Writes a file, and the folder that it is in.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path().join(name);
        let parent = path.parent().unwrap_or(self.path());
        let write = || fs::create_dir_all(parent).and_then(|()| fs::write(&path, bytes));
        write().map_err(|e| Error::write(self.output.join(name), e))
    }

    /// Takes the place.
    pub(crate) fn finish(self) -> Result<()> {
        fs::rename(self.path(), &self.target).map_err(|e| Error::write(&self.output, e))?;
        // It has another name now: there is nothing to be removed.
        let _ = self.temporary.keep();
        Ok(())
    }
}

fn target(output: &Path) -> Result<PathBuf> {
    let failed = |e| Error::write(output, e);
    match fs::read_dir(output) {
        Ok(mut entries) => match entries.next() {
            None => fs::canonicalize(output).map_err(failed),
            Some(_) => {
                let reason = "is a folder that holds something; name a new one or an empty one";
                Err(Error::file(output, reason))
            }
        },
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(output.into()),
        Err(e) if e.kind() == ErrorKind::NotADirectory => {
            Err(Error::file(output, "is not a folder; name a new one or an empty one"))
        }
        Err(e) => Err(failed(e)),
    }
}

fn temporary(target: &Path) -> io::Result<TempDir> {
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    new_file::unfinished(0o777).tempdir_in(parent)
}
