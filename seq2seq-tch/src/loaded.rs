//! Which libtorch this process has loaded, found out without a call of anything that differs between versions.
//!
//! The loader takes any version whose libraries have the right names. So the version is asked of the library that is there:
//! `aoti_torch_abi_version` is a C function of libtorch's stable interface that takes nothing and returns a constant. Versions
//! before that interface are named by the file beside them.

use crate::open::LIBTORCH;
use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};
use seq2seq_core::Error;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The library of libtorch's operations is named so, and then perhaps with a version.
const LIBRARY: &str =
    if cfg!(target_vendor = "apple") { "libtorch_cpu.dylib" } else { "libtorch_cpu.so" };

/// The libtorch of this process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loaded {
    /// The library of its operations.
    pub(crate) file: PathBuf,
    /// `2.11.0`, say; none where neither the library nor a file beside it tells.
    version: Option<String>,
}

impl Loaded {
    /// The one that was loaded with this program; none where libtorch is linked into it.
    pub(crate) fn find() -> Option<Self> {
        let file = objects().into_iter().find(|file| {
            file.file_name().is_some_and(|name| name.as_bytes().starts_with(LIBRARY.as_bytes()))
        })?;
        let version = stated(&file).or_else(|| written(&file));
        Some(Self { file, version })
    }

    /// # Errors
    /// [`Error::Unsupported`] where it is not the libtorch that this crate calls.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.version.as_deref() == Some(LIBTORCH) {
            return Ok(());
        }
        let version = self.version.as_deref().unwrap_or("of a version that it does not tell");
        Err(Error::Unsupported {
            what: format!("libtorch {version} ({})", self.file.display()),
            hint: format!(
                "this program was built for libtorch {LIBTORCH}, the one that tch 0.24.0 binds; \
                 pip install torch=={LIBTORCH}, and put its folder torch/lib into LD_LIBRARY_PATH"
            ),
        })
    }
}

/// What the library says of itself; none where it is older than the question.
fn stated(file: &Path) -> Option<String> {
    // SAFETY: the library is loaded already, so nothing of it runs here, and it stays loaded behind the handle.
    let library = unsafe { Library::open(Some(file), RTLD_LAZY | RTLD_LOCAL) }.ok()?;
    type Version = unsafe extern "C" fn() -> u64;
    // SAFETY: this is its type in every version that has it (torch/csrc/inductor/aoti_torch/c/shim.h).
    let version = unsafe { library.get::<Version>(b"aoti_torch_abi_version\0") }.ok()?;
    // A byte each of major, minor and patch, from the highest on.
    // SAFETY: it takes nothing and returns a constant.
    let [major, minor, patch, ..] = unsafe { version() }.to_be_bytes();
    Some(format!("{major}.{minor}.{patch}"))
}

/// What stands in the folder that holds the library's: `version.py` of a wheel, `build-version` of an archive.
fn written(file: &Path) -> Option<String> {
    let folder = file.parent()?.parent()?;
    let wheel = std::fs::read_to_string(folder.join("version.py")).ok();
    let wheel = wheel.as_deref().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("__version__"))?;
        Some(line.trim_matches(|c| " ='\"".contains(c)).to_owned())
    });
    let version = wheel.or_else(|| std::fs::read_to_string(folder.join("build-version")).ok())?;
    // Behind a plus stands what it was built with, as in 2.11.0+cu130.
    let version = version.trim().split('+').next()?;
    (!version.is_empty()).then(|| version.to_owned())
}

/// The files of everything that is loaded.
#[cfg(not(target_vendor = "apple"))]
fn objects() -> Vec<PathBuf> {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" fn add(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        files: *mut c_void,
    ) -> c_int {
        // SAFETY: `files` is what is handed to `dl_iterate_phdr` below, which nothing else uses meanwhile; `info` is valid
        // for this call, and its name is null or ends in a zero.
        let (files, name) = unsafe { (&mut *files.cast::<Vec<PathBuf>>(), (*info).dlpi_name) };
        if !name.is_null() {
            // SAFETY: as above.
            files.push(path(unsafe { CStr::from_ptr(name) }));
        }
        0
    }

    let mut files: Vec<PathBuf> = Vec::new();
    // SAFETY: `add` takes what it is given here, and does not unwind: it runs out of memory at worst, which aborts.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut files).cast()) };
    files
}

/// The files of everything that is loaded.
#[cfg(target_vendor = "apple")]
fn objects() -> Vec<PathBuf> {
    // Of the system's library (mach-o/dyld.h).
    unsafe extern "C" {
        fn _dyld_image_count() -> u32;
        fn _dyld_get_image_name(index: u32) -> *const std::ffi::c_char;
    }
    // SAFETY: it takes nothing.
    let count = unsafe { _dyld_image_count() };
    let file = |index| {
        // SAFETY: an index that is out of range by now gives null; names of what stays loaded stay.
        let name = unsafe { _dyld_get_image_name(index) };
        // SAFETY: it is a name of the loader's, which ends in a zero.
        (!name.is_null()).then(|| path(unsafe { CStr::from_ptr(name) }))
    };
    (0..count).filter_map(file).collect()
}

fn path(name: &CStr) -> PathBuf {
    OsStr::from_bytes(name.to_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn it_is_the_one_that_is_called() -> Result<(), Error> {
        // A linker that is told to leave out what is not needed keeps libraries that are called.
        assert!(tch::get_num_threads() > 0);
        let loaded = Loaded::find().expect("the tests are linked with libtorch's libraries");
        assert!(loaded.file.is_file(), "{loaded:?}");
        // The library and the file beside it say the same.
        assert_eq!(stated(&loaded.file).as_deref(), Some(LIBTORCH));
        assert_eq!(written(&loaded.file).as_deref(), Some(LIBTORCH));
        loaded.check()
    }

    #[test]
    fn another_is_refused_by_both_names() {
        let file = PathBuf::from("/opt/torch/lib/libtorch_cpu.so");
        for (version, named) in
            [(Some("2.9.0"), "2.9.0"), (Some("2.11.1"), "2.11.1"), (None, "does not tell")]
        {
            let other = Loaded { file: file.clone(), version: version.map(ToOwned::to_owned) };
            let error = other.check().expect_err(named).to_string();
            for part in [named, "/opt/torch/lib/libtorch_cpu.so", LIBTORCH, "LD_LIBRARY_PATH"] {
                assert!(error.contains(part), "'{part}' in '{error}'");
            }
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn old_versions_are_named_by_the_file_beside_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let library = folder.path().join("lib").join(LIBRARY);
        fs::create_dir(folder.path().join("lib")).expect("a folder");
        assert_eq!(written(&library), None);
        for (name, text, version) in [
            ("build-version", "2.4.1+cu121\n", Some("2.4.1")),
            ("build-version", "\n", None),
            // A wheel's goes before.
            (
                "version.py",
                "from typing import Optional\n\n__version__ = '2.5.1+cpu'\ndebug = False\n",
                Some("2.5.1"),
            ),
            ("version.py", "__version__ = \"2.6.0\"\n", Some("2.6.0")),
            ("version.py", "debug = False\n", None),
        ] {
            fs::write(folder.path().join(name), text).expect("a file");
            assert_eq!(written(&library).as_deref(), version, "{name}: {text}");
        }
    }

    /// No library, or one that says nothing of itself.
    #[test]
    fn a_library_may_say_nothing() {
        assert_eq!(stated(Path::new("/nowhere/libtorch_cpu.so")), None);
        let libc = objects().into_iter().find(|file| file.to_string_lossy().contains("libc."));
        assert_eq!(stated(&libc.expect("the C library is loaded")), None);
    }
}
