//! The one memory map.

use crate::{Error, Result};
use seq2seq_core::host::{Release, SharedBytes};
use std::{fs::File, ops::Range, path::Path, sync::Arc};

/// How far around a page that is touched Linux maps what lies in its cache (`fault_around_bytes`).
const AROUND: usize = 64 << 10;

/// The bytes of a file: mapped, or in memory from the start.
#[derive(Clone)]
pub(crate) struct Mapped {
    pub(crate) bytes: SharedBytes,
    map: Option<Arc<memmap2::Mmap>>,
}

impl Mapped {
    /// Maps a file for reading. Its pages come in as they are touched and belong to the system's cache.
    ///
    /// The file must not be cut short or rewritten in place while the bytes are in use; replacing it by another file
    /// of the same name, as every downloader and trainer does, is safe.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        // SAFETY: the map is read-only and private to this process' view, the bytes are only ever read, as `u8` or as
        // numbers of which any bits are one, and nothing is assumed of their values. What remains, another program truncating the file under us, is excluded
        // by the documented contract of loading; no means of the language could exclude it.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        let map = Arc::new(map);
        Ok(Self { bytes: map.clone(), map: Some(map) })
    }

    /// Bytes that are in memory anyway.
    pub(crate) fn in_memory(bytes: SharedBytes) -> Self {
        Self { bytes, map: None }
    }

    /// Lets the system take back the pages of `range`, which has been read; who reads them again gets them from the file.
    ///
    /// Without it a process that packs its weights seems to hold them twice. A hint: nothing happens where it fails.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Some(map) = &self.map {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the mapping is of a file and is never written to, so pages that are dropped come back with the
            // same bytes.
            let _ = unsafe { map.unchecked_advise_range(advice, range.start, range.len()) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }

    /// Lets go of everything, when few places will be read from now on: each of them brings in its own page and some around it, not
    /// the huge one that it lies in, of which the system's cache may be made.
    pub(crate) fn release_all(&self) {
        self.release(0..(*self.bytes).as_ref().len());
        #[cfg(target_os = "linux")]
        if let Some(map) = &self.map {
            // A hint as well.
            let _ = map.advise(memmap2::Advice::NoHugePage);
        }
    }

    /// [`release`](Self::release) with what came in around those pages.
    pub(crate) fn release_around(&self, range: Range<usize>) {
        let end = range.end.saturating_add(AROUND).min((*self.bytes).as_ref().len());
        self.release(range.start.saturating_sub(AROUND)..end);
    }

    /// [`release`](Self::release), to be handed on to who reads range behind range: reading the one brings back the end of the one
    /// before.
    pub(crate) fn releaser(&self) -> Release {
        let this = self.clone();
        Arc::new(move |range| this.release(range.start.saturating_sub(AROUND)..range.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_pages_come_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..300_000).map(|i| (i % 251) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let mapped = Mapped::open(file.path()).unwrap();
        let read = || (*mapped.bytes).as_ref().to_vec();
        assert_eq!(read(), bytes);
        for range in [0..300_000, 5000..5001, 299_999..300_000] {
            mapped.release(range.clone());
            assert_eq!(read(), bytes);
            mapped.release_around(range);
            assert_eq!(read(), bytes);
        }
        mapped.release_all();
        assert_eq!(read(), bytes);
    }
}
