//! Shared memory as asynchronous units see it.
//!
//! They read through a proxy of their own, which an ordinary store reaches only through `fence.proxy.async`, by the thread
//! that stored or by one that comes after it; and what they read may not be overwritten until they are waited for.

use super::ThreadClock;
use crate::{Access, FaultKind, Space};
use std::collections::HashMap;

/// Bytes that were stored and not fenced.
#[derive(Debug, Clone, Copy)]
struct Store {
    at: usize,
    length: usize,
    thread: u32,
    clock: u32,
    line: u32,
}

/// The asynchronous proxy of a block.
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    /// Stores that asynchronous units do not see yet.
    unfenced: Vec<Store>,
    /// Chunks of 16 bytes that are being read: by how many, and the thread and line of one.
    reading: HashMap<usize, (u32, u32, u32)>,
}

/// Bytes that the units read at once.
const CHUNK: usize = 16;

impl Proxy {
    pub(crate) fn store(
        &mut self,
        at: usize,
        length: usize,
        (thread, clock, line): (u32, u32, u32),
    ) {
        // Neighbouring stores of a thread are one.
        if let Some(last) = self.unfenced.last_mut()
            && (last.thread, last.clock, last.at + last.length) == (thread, clock, at)
        {
            last.length += length;
            return;
        }
        self.unfenced.push(Store { at, length, thread, clock, line });
    }

    /// A fence by a thread: for what it stored, and what it knows to lie before.
    pub(crate) fn fence(&mut self, block: u32, thread: u32, clock: &ThreadClock) {
        self.unfenced
            .retain(|s| s.thread != thread && !clock.knows(block, block, s.thread, s.clock));
    }

    /// A read by an asynchronous unit.
    pub(crate) fn read(&self, at: usize, length: usize) -> Result<(), FaultKind> {
        let hit = self.unfenced.iter().find(|s| s.at < at + length && at < s.at + s.length);
        match hit {
            None => Ok(()),
            Some(s) => Err(FaultKind::MissingProxyFence {
                address: s.at.max(at) as u64,
                thread: s.thread,
                line: s.line,
            }),
        }
    }

    /// A unit begins to read a chunk.
    pub(crate) fn begin(&mut self, at: usize, thread: u32, line: u32) {
        self.reading.entry(at / CHUNK).or_insert((0, thread, line)).0 += 1;
    }

    /// A unit has read a chunk.
    pub(crate) fn end(&mut self, at: usize) {
        if let Some(readers) = self.reading.get_mut(&(at / CHUNK)) {
            readers.0 -= 1;
            if readers.0 == 0 {
                self.reading.remove(&(at / CHUNK));
            }
        }
    }

    /// Whether bytes may be overwritten.
    pub(crate) fn writable(&self, at: usize, length: usize) -> Result<(), FaultKind> {
        if self.reading.is_empty() {
            return Ok(());
        }
        let mut chunks = at / CHUNK..(at + length).div_ceil(CHUNK);
        match chunks.find_map(|c| self.reading.get(&c)) {
            None => Ok(()),
            Some((_, thread, line)) => Err(FaultKind::PendingCopy {
                space: Space::Shared,
                access: Access::Write,
                address: at as u64,
                thread: *thread,
                line: *line,
            }),
        }
    }
}
