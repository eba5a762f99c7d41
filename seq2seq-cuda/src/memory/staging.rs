//! What is copied between host and device, by way of page-locked memory, so that the host goes on meanwhile.
//!
//! An upload is written into a ring, from which the device takes it when its turn in the queue comes. The ring has parts;
//! when one is full, an event is put behind its copies, and it is written again once that has passed. A step of a
//! decoding uploads a few kilobytes: by the time the ring comes round, the event has long passed and nobody waits.
//!
//! A download lands in a slot of its own, with an event behind it, which is all that is waited for. Slots are kept, and
//! there are as many as threads have ever read at a time.
//!
//! What is longer than a part goes straight ([`Driver::write`], [`Driver::read`]): weights, which are uploaded once, and
//! tensors that a caller looks at.

use crate::driver::{Driver, EventId, Result};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes of a part of the ring, and of a slot.
const PART: usize = 256 << 10;
/// Parts of the ring.
const PARTS: usize = 4;
/// Uploads begin at multiples of it: a line of the host's cache.
const LINE: usize = 64;

/// Page-locked memory and the events behind what is copied from and to it. All of it is taken at its first use.
pub(super) struct Staging {
    driver: Arc<dyn Driver>,
    ring: Mutex<Option<Ring>>,
    slots: Mutex<Vec<Slot>>,
}

struct Ring {
    /// PARTS · PART bytes.
    memory: NonNull<u8>,
    /// Behind the last copies from each part.
    events: [EventId; PARTS],
    /// The part that is written, and how much of it has been.
    part: usize,
    used: usize,
}

struct Slot {
    /// PART bytes.
    memory: NonNull<u8>,
    /// Behind the copy to it.
    event: EventId,
}

// SAFETY: the memory is reached through the ring or slot alone, of which there is one owner at a time.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Send for Slot {}

/// A ring and a list stay what they are whatever happened while they were held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Staging {
    pub(super) fn new(driver: Arc<dyn Driver>) -> Self {
        Self { driver, ring: Mutex::new(None), slots: Mutex::default() }
    }

    /// Whether so many bytes are staged.
    pub(super) fn takes(bytes: usize) -> bool {
        bytes <= PART
    }

    /// Copies to the device behind what was asked for before. The bytes may be reused once it returns.
    pub(super) fn write(&self, to: u64, bytes: &[u8]) -> Result<()> {
        if !Self::takes(bytes.len()) {
            return self.driver.write(to, bytes);
        }
        let mut ring = lock(&self.ring);
        let ring = match &mut *ring {
            Some(ring) => ring,
            none => none.insert(Ring::new(&*self.driver)?),
        };
        ring.write(&*self.driver, to, bytes)
    }

    /// Copies to the host, having waited for what was asked for before.
    pub(super) fn read(&self, from: u64, out: &mut [u8]) -> Result<()> {
        if !Self::takes(out.len()) {
            return self.driver.read(from, out);
        }
        let kept = lock(&self.slots).pop();
        let slot = kept.map_or_else(|| Slot::new(&*self.driver), Ok)?;
        let done = slot.read(&*self.driver, from, out);
        lock(&self.slots).push(slot);
        done
    }
}

impl Ring {
    fn new(driver: &dyn Driver) -> Result<Self> {
        let mut events = [EventId(0); PARTS];
        for event in &mut events {
            *event = driver.event()?;
        }
        Ok(Self { memory: driver.alloc_host(PARTS * PART)?, events, part: 0, used: 0 })
    }

    fn write(&mut self, driver: &dyn Driver, to: u64, bytes: &[u8]) -> Result<()> {
        if self.used + bytes.len() > PART {
            let next = (self.part + 1) % PARTS;
            driver.record(self.events[self.part])?;
            driver.wait(self.events[next])?;
            (self.part, self.used) = (next, 0);
        }
        // SAFETY: `used` and the bytes behind it lie in the part, which lies in the memory. Copies from this part of the
        // time before are done, as its event had passed when the part was begun; those since lie before `used`. What is
        // written here is next written once the event that is recorded behind it has passed.
        unsafe {
            let from = self.memory.add(self.part * PART + self.used);
            from.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            driver.write_later(to, from, bytes.len())?;
        }
        self.used += bytes.len().next_multiple_of(LINE);
        Ok(())
    }
}

impl Slot {
    fn new(driver: &dyn Driver) -> Result<Self> {
        Ok(Self { event: driver.event()?, memory: driver.alloc_host(PART)? })
    }

    fn read(&self, driver: &dyn Driver, from: u64, out: &mut [u8]) -> Result<()> {
        // SAFETY: `out` is not longer than the memory, which is touched only once the event has passed; where one of the
        // calls fails, not before the next read, which stands behind this one.
        unsafe {
            driver.read_later(from, self.memory, out.len())?;
            driver.record(self.event)?;
            driver.wait(self.event)?;
            NonNull::from(&mut *out).cast().copy_from_nonoverlapping(self.memory, out.len());
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let ring = self.ring.get_mut().unwrap_or_else(|e| e.into_inner()).take();
        let slots = std::mem::take(self.slots.get_mut().unwrap_or_else(|e| e.into_inner()));
        if ring.is_none() && slots.is_empty() {
            return;
        }
        // A device that fails here has failed before, and been told; so below. Where it did, copies may be under way
        // still: the memory is left to the driver.
        if self.driver.synchronize().is_err() {
            return;
        }
        let of_ring = ring.map(|r| (r.memory, r.events.to_vec()));
        let of_slots = slots.into_iter().map(|s| (s.memory, vec![s.event]));
        for (memory, events) in of_ring.into_iter().chain(of_slots) {
            // SAFETY: `alloc_host` gave it, every copy is done, and it is used by nothing any more.
            let _ = unsafe { self.driver.free_host(memory) };
            events.into_iter().for_each(|event| drop(self.driver.free_event(event)));
        }
    }
}
