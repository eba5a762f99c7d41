//! Files that take their place when all is written, or not at all.

use crate::{
    Error, Result,
    unfinished::{PREFIX, Unfinished},
};
use std::{fs, path::Path};
use tempfile::NamedTempFile;

/// What makes files and folders to be written; they are as open as the process' mask lets them be, where temporary ones are
/// private otherwise.
pub(crate) fn unfinished(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

/// Has `write` fill a file beside `path`, which then takes its place: whoever looks there, now or after the machine has
/// stopped, finds the old file or the new one. Where anything fails the old one stays and nothing is left behind.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let failed = |e| Error::write(path, e);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = unfinished(0o666);
    let made = Unfinished::list(|| named.tempfile_in(folder).map(NamedTempFile::into_temp_path));
    let (_listed, temporary) = made.map_err(failed)?;
    write(&temporary)?;
    temporary.persist(path).map_err(|e| failed(e.error))?;
    // The new name, too, is to be on the disk. Not every system can sync a folder.
    if let Ok(folder) = fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// [`replace`] by these bytes.
pub(crate) fn replace_with(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    replace(path, |temporary| {
        let write = || {
            let mut file = fs::File::create(temporary)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|e| Error::write(path, e))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        replace_with(&path, b"old").unwrap();
        let broken = replace(&path, |temporary| {
            fs::write(temporary, "half").unwrap();
            Err(Error::input("no more room"))
        });
        assert!(broken.unwrap_err().to_string().contains("no more room"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        replace_with(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("no").join("x");
        assert!(replace_with(&nowhere, b"").unwrap_err().to_string().contains("no/x"));
    }
}
