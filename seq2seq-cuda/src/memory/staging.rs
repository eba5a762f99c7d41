//! What is copied between host and device, by way of page-locked memory, so that the host goes on meanwhile.
//!
//! An upload is written into a ring, from which the device takes it when its turn in the queue comes. The ring has parts;
//! when one is full, an event is put behind its copies, and it is written again once that has passed. A step of a
//! decoding uploads a few kilobytes: by the time the ring comes round, the event has long passed and nobody waits.
//!
//! A download lands in a slot of its own, with an event behind it, which is all that is waited for, at once or when more has been
//! asked for since. Slots are kept, and there are as many as downloads have ever been under way at a time.
//!
//! What is longer than a part goes straight ([`Driver::write`], [`Driver::read`]): weights, which are uploaded once, and
//! tensors that a caller looks at.

use crate::driver::{Driver, EventId, Result};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Behind the last copy to it.
    event: EventId,
}

/// A copy to a slot.
pub(super) struct Reading {
    slot: Slot,
    bytes: usize,
    /// Whether somebody has waited for it.
    done: AtomicBool,
}

// SAFETY: the memory is reached through the ring or slot alone, of which there is one owner at a time.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Send for Slot {}
// SAFETY: it is begun before others have it. They wait for the event, and read memory that nobody writes until it is ended, which
// takes it whole.
unsafe impl Sync for Reading {}

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
        let reading = self.begin_read(from, out.len())?;
        let done = self.finish_read(&reading, out);
        self.end_read(reading);
        done
    }

    /// Asks for a copy to the host of bytes that are staged, behind what was asked for before.
    pub(super) fn begin_read(&self, from: u64, bytes: usize) -> Result<Reading> {
        assert!(Self::takes(bytes), "{bytes} bytes are not staged");
        let kept = lock(&self.slots).pop();
        let slot = kept.map_or_else(|| Slot::new(&*self.driver), Ok)?;
        let reading = Reading { slot, bytes, done: AtomicBool::new(false) };
        match reading.begin(&*self.driver, from) {
            Ok(()) => Ok(reading),
            Err(e) => {
                self.end_read(reading);
                Err(e)
            }
        }
    }

    /// Waits for it: as many bytes as were asked for.
    pub(super) fn finish_read(&self, reading: &Reading, out: &mut [u8]) -> Result<()> {
        reading.finish(&*self.driver, out)
    }

    /// Takes its slot for the next, whether it was waited for or not.
    pub(super) fn end_read(&self, reading: Reading) {
        lock(&self.slots).push(reading.slot);
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
}

impl Reading {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn begin(&self, driver: &dyn Driver, from: u64) -> Result<()> {
        // SAFETY: the bytes are not more than the memory has, which is touched only once the event has passed; where it is not
        // waited for, or one of the calls fails, not before that of the next copy to this memory, which stands behind this one.
        unsafe { driver.read_later(from, self.slot.memory, self.bytes) }?;
        driver.record(self.slot.event)
    }

    fn finish(&self, driver: &dyn Driver, out: &mut [u8]) -> Result<()> {
        assert_eq!(out.len(), self.bytes, "as many bytes as were asked for");
        if !self.done.load(Ordering::Acquire) {
            driver.wait(self.slot.event)?;
            self.done.store(true, Ordering::Release);
        }
        // SAFETY: the memory has so many bytes, and the copy to it is done: its event was recorded when this was begun, and the
        // slot is this reading's until it is ended.
        unsafe {
            NonNull::from(&mut *out).cast().copy_from_nonoverlapping(self.slot.memory, out.len());
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
