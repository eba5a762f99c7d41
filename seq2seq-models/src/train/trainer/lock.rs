//! One training at a time in a folder.

use crate::{Error, Result};
use std::{
    fs::{File, TryLockError},
    io::{self, ErrorKind},
    path::Path,
};

/// In the folder of the training. It stays when the training has ended: whoever removed it could remove that of the next.
const NAME: &str = "lock";

/// Held for as long as a training runs. The system lets go of it with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Fails where another training holds it.
    pub(super) fn take(training: &Path) -> Result<Self> {
        let path = training.join(NAME);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        Self::hold(&path, file)
    }

    /// Fails where another training holds it. Writes nothing.
    pub(super) fn check(training: &Path) -> Result<()> {
        let path = training.join(NAME);
        match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            file => Self::hold(&path, file).map(drop),
        }
    }

    fn hold(path: &Path, file: io::Result<File>) -> Result<Self> {
        let file = file.map_err(|e| Error::write(path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let folder = path.parent().and_then(Path::parent).unwrap_or(path);
                let reason =
                    "another training is running in this folder; wait for it, or name a new folder";
                return Err(Error::file(folder, reason));
            }
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {
                let folder = path.display();
                tracing::warn!(
                    "{folder}: the file system has no locks; see that no other training writes here"
                );
            }
            Err(TryLockError::Error(e)) => return Err(Error::write(path, e)),
        }
        Ok(Self { _file: file })
    }
}
