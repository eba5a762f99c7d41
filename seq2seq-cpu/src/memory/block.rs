//! Memory from the system: small blocks from the allocator, large ones as pages of their own.

use super::region::{self, Region};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;

/// Every block begins on a cache line, which is also the widest vector.
pub(super) const ALIGN: usize = 64;

/// Blocks from this size on are pages of their own, where the system has a call for that.
const LARGE: usize = 1 << 20;

/// How the system should back a large block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// In huge pages, where it has them: weights streamed through small ones take 4 to 6 % longer.
    Large,
    /// In small pages, each when it is first written.
    Small,
}

/// Where the bytes of a block come from.
#[derive(Debug)]
enum Origin {
    Allocator,
    /// Pages of its own.
    System(Pages),
    /// Pages that it shares with others, and keeps.
    Region {
        _keeps: Arc<Region>,
    },
}

/// Owned bytes, zeros at first.
#[derive(Debug)]
pub(super) struct Block {
    start: NonNull<u8>,
    bytes: usize,
    origin: Origin,
}

// SAFETY: a block owns its bytes, as a `Box<[u8]>` does.
unsafe impl Send for Block {}
// SAFETY: see Send; through a shared block nothing can be written.
unsafe impl Sync for Block {}

impl Block {
    /// At least `bytes` bytes, which is not 0. None where the system has not that much.
    pub(super) fn new(bytes: usize, pages: Pages) -> Option<Self> {
        let bytes = round(bytes)?;
        let (start, origin) = match bytes >= LARGE && ARE_MAPPED {
            true => (mapped::map(bytes, pages)?, Origin::System(pages)),
            // SAFETY: the size is not 0.
            false => (NonNull::new(unsafe { alloc_zeroed(layout(bytes)?) })?, Origin::Allocator),
        };
        Some(Self { start, bytes, origin })
    }

    /// At least `bytes` bytes, which is not 0, beside those that this thread took before, for as long as a model lives.
    /// None where the system has not that much.
    pub(super) fn lasting(bytes: usize) -> Option<Self> {
        if !ARE_MAPPED {
            return Self::new(bytes, Pages::Large);
        }
        let bytes = bytes.checked_next_multiple_of(ALIGN)?;
        let (start, region) = region::take(bytes)?;
        Some(Self { start, bytes, origin: Origin::Region { _keeps: region } })
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether another owner may take it over.
    pub(super) fn recyclable(&self) -> bool {
        match self.origin {
            Origin::Allocator | Origin::System(Pages::Large) => !STRICT,
            Origin::System(Pages::Small) | Origin::Region { .. } => false,
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        match &self.origin {
            Origin::Allocator => {
                if let Some(layout) = layout(self.bytes) {
                    // SAFETY: `new` allocated it with this layout.
                    unsafe { dealloc(self.start.as_ptr(), layout) }
                }
            }
            Origin::System(_) => mapped::unmap(self.start, self.bytes),
            // The last block of a region ends it.
            Origin::Region { .. } => {}
        }
    }
}

/// Under the sanitizer (`--cfg seq2seq_strict_memory`) every block is exactly as long as asked for, comes from the allocator
/// and goes back to it, so that a step beyond its end or its life is seen.
pub(super) const STRICT: bool = cfg!(seq2seq_strict_memory);

/// The next of the sizes that blocks have: four between one power of two and the next, so that buffers which grow a
/// little find a block that an earlier one left.
pub(super) fn round(bytes: usize) -> Option<usize> {
    let step = if STRICT { 1 } else { (bytes.checked_next_power_of_two()? / 8).max(ALIGN) };
    bytes.checked_next_multiple_of(step).filter(|&b| b <= isize::MAX as usize)
}

/// Whether blocks may be pages.
const ARE_MAPPED: bool = mapped::AVAILABLE && !STRICT;

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, ALIGN).ok()
}

/// Ends the process as the standard collections do.
pub(super) fn out_of_memory(bytes: usize) -> ! {
    handle_alloc_error(layout(bytes).unwrap_or(Layout::new::<u8>()))
}

#[cfg(all(target_os = "linux", not(miri)))]
pub(super) mod mapped {
    use super::Pages;
    use std::ptr::{NonNull, null_mut};

    pub(super) const AVAILABLE: bool = true;
    /// The size of a huge page, and the boundary that one begins on.
    pub(in crate::memory) const HUGE: usize = 2 << 20;

    /// `bytes` zeros. From the size of a huge page on, they begin on the boundary of one.
    pub(in crate::memory) fn map(bytes: usize, pages: Pages) -> Option<NonNull<u8>> {
        let slack = if bytes >= HUGE { HUGE } else { 0 };
        let all = bytes.checked_add(slack)?;
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping at a place of the system's choice touches nothing that exists.
        let start = unsafe { libc::mmap(null_mut(), all, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = start.cast::<u8>();
        let skip = if slack > 0 { start.align_offset(HUGE) } else { 0 };
        // SAFETY: `skip` is at most `slack`, so the block and what is given back before and behind it lie in the
        // mapping. Its bounds are multiples of the page size (sizes from LARGE on are, see `round`). The advice changes
        // speed only.
        unsafe {
            let block = start.add(skip);
            if skip > 0 {
                libc::munmap(start.cast(), skip);
            }
            if slack > skip {
                libc::munmap(block.add(bytes).cast(), slack - skip);
            }
            let advice = match pages {
                Pages::Large => libc::MADV_HUGEPAGE,
                Pages::Small => libc::MADV_NOHUGEPAGE,
            };
            libc::madvise(block.cast(), bytes, advice);
            NonNull::new(block)
        }
    }

    pub(in crate::memory) fn unmap(start: NonNull<u8>, bytes: usize) {
        // SAFETY: `map` gave these bytes, and their one owner gives them up.
        unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
pub(super) mod mapped {
    use super::Pages;
    use std::ptr::NonNull;

    pub(super) const AVAILABLE: bool = false;
    pub(in crate::memory) const HUGE: usize = 2 << 20;

    pub(in crate::memory) fn map(_bytes: usize, _pages: Pages) -> Option<NonNull<u8>> {
        None
    }

    pub(in crate::memory) fn unmap(_start: NonNull<u8>, _bytes: usize) {}
}
