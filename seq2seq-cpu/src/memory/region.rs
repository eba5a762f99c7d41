//! Weights side by side in huge pages.
//!
//! A matrix of weights is seldom a whole number of huge pages, and often less than one; in pages of its own, its end, or all
//! of it, would lie in small ones. So a thread that loads a model lays one matrix behind the other.

use super::block::{
    Pages,
    mapped::{self, HUGE},
};
use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

/// The bytes of a region, or as many as a block needs. The system provides those that are written to.
const BYTES: usize = 64 << 20;

/// Pages that end with the last block in them.
#[derive(Debug)]
pub(super) struct Region {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a region is an address and a length; nobody reads or writes through it.
unsafe impl Send for Region {}
// SAFETY: see Send.
unsafe impl Sync for Region {}

impl Region {
    /// Room for `bytes` bytes.
    fn new(bytes: usize) -> Option<Self> {
        let bytes = bytes.max(BYTES).checked_next_multiple_of(HUGE)?;
        Some(Self { start: mapped::map(bytes, Pages::Large)?, bytes })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        mapped::unmap(self.start, self.bytes);
    }
}

/// The region that a thread takes from, which its blocks alone keep, and how much of it was taken.
struct Open {
    region: Weak<Region>,
    taken: usize,
}

thread_local! {
    static OPEN: RefCell<Open> = const { RefCell::new(Open { region: Weak::new(), taken: 0 }) };
}

/// The next `bytes` bytes, zeros that nobody has used, and the region that they lie in. None where the system has not that
/// much.
pub(super) fn take(bytes: usize) -> Option<(NonNull<u8>, Arc<Region>)> {
    let take = |open: &mut Open| {
        let fits = |r: &Arc<Region>| bytes <= r.bytes - open.taken;
        let region = match open.region.upgrade().filter(fits) {
            Some(region) => region,
            None => {
                let region = Arc::new(Region::new(bytes)?);
                *open = Open { region: Arc::downgrade(&region), taken: 0 };
                region
            }
        };
        // SAFETY: the bytes from there on lie in the region.
        let start = unsafe { region.start.add(open.taken) };
        open.taken += bytes;
        Some((start, region))
    };
    // While the thread ends, each block has a region of its own.
    OPEN.try_with(|open| take(&mut open.borrow_mut()))
        .unwrap_or_else(|_| take(&mut Open { region: Weak::new(), taken: 0 }))
}
