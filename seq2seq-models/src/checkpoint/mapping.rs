//! The one memory map.

use crate::{Error, Result};
use seq2seq_core::host::SharedBytes;
use std::{fs::File, path::Path, sync::Arc};

/// Maps a file for reading. Its pages come in as they are touched and belong to the system's cache.
///
/// The file must not be cut short or rewritten in place while the bytes are in use; replacing it by another file
/// of the same name, as every downloader and trainer does, is safe.
pub(crate) fn map(path: &Path) -> Result<SharedBytes> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    // SAFETY: the map is read-only and private to this process' view, the bytes are only ever read as `u8`, and
    // nothing is assumed of their values. What remains, another program truncating the file under us, is excluded
    // by the documented contract of loading; no means of the language could exclude it.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
    Ok(Arc::new(map))
}
