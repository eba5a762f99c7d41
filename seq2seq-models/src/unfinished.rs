//! Files and folders that are being written and have not taken their names yet: a program that is ended early removes them.
//!
//! ```
//! use seq2seq_models::unfinished::{self, Unfinished};
//!
//! # fn main() -> std::io::Result<()> {
//! // A file of this program's own goes the way of those of this library.
//! let make = || tempfile::Builder::new().prefix(unfinished::PREFIX).tempfile();
//! let (_listed, file) = Unfinished::list(make)?;
//! assert!(file.path().exists());
//!
//! // Later, in whatever answers Ctrl-C: nothing may be written from here on, so the program ends.
//! unfinished::remove_all();
//! assert!(!file.path().exists());
//! std::process::exit(0);
//! # }
//! ```

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What their names begin with.
pub const PREFIX: &str = ".seq2seq-";

/// Those of this process. A signal comes to the process, and whoever answers it has no other way to know.
static LISTED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A temporary file or folder is listed for as long as this lives, which is to be longer than the temporary itself.
#[derive(Debug)]
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// Lists what `make` makes.
    ///
    /// # Errors
    /// Those of `make`, without the name that the temporary would have had.
    pub fn list<T: AsRef<Path>>(make: impl FnOnce() -> io::Result<T>) -> io::Result<(Self, T)> {
        let mut listed = listed();
        let made = make().map_err(without_name)?;
        let path = made.as_ref().to_owned();
        listed.insert(path.clone());
        Ok((Self(path), made))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        listed().remove(&self.0);
    }
}

/// Removes all that are listed, in a process that ends at once: whoever would list another one, or say that writing failed,
/// waits for ever.
pub fn remove_all() {
    let listed = listed();
    for path in listed.iter() {
        // Other threads may write into a folder that is being removed.
        let remove =
            || if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        let removed = |done: &io::Result<()>| match done {
            Ok(()) => true,
            Err(e) => e.kind() == ErrorKind::NotFound,
        };
        // What cannot be removed is no reason not to end.
        let _ = (0..9).any(|_| removed(&remove()));
    }
    std::mem::forget(listed);
}

fn listed() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // A set is whole after a panic of whoever held it.
    LISTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// tempfile puts the name of the temporary behind its errors, which nobody has asked for.
fn without_name(error: io::Error) -> io::Error {
    match error.to_string().rsplit_once(" at path ") {
        Some((reason, _)) => io::Error::new(error.kind(), reason),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_so_until_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let (listed_as, made) =
            Unfinished::list(|| tempfile::NamedTempFile::new_in(folder.path())).unwrap();
        let path = made.path().to_owned();
        assert!(listed().contains(&path));
        made.persist(folder.path().join("done")).unwrap();
        drop(listed_as);
        assert!(!listed().contains(&path));
    }

    #[test]
    fn errors_do_not_name_the_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("no");
        let error = Unfinished::list(|| tempfile::NamedTempFile::new_in(&nowhere)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!error.to_string().contains("path"), "{error}");
    }
}
