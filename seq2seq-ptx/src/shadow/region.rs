//! A memory with its shadow: bytes, which of them were written, who used them, and which are still being copied.

use super::bits::Bits;
use super::{Races, Who};
use crate::{Access, FaultKind, Space};
use std::collections::BTreeMap;

/// A memory with its shadow.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    space: Space,
    /// Address of the first byte.
    base: u64,
    bytes: Vec<u8>,
    written: Bits,
    races: Races,
    copying: Bits,
    /// Asynchronous copies that nothing waited for, by their first byte.
    copies: BTreeMap<usize, Copy>,
}

/// Bytes that an asynchronous copy will write.
#[derive(Debug, Clone, Copy)]
struct Copy {
    length: usize,
    thread: u32,
    line: u32,
}

impl Region {
    /// Memory that nothing wrote.
    pub(crate) fn new(space: Space, base: u64, bytes: usize) -> Self {
        Self {
            space,
            base,
            bytes: vec![0xcd; bytes],
            written: Bits::new(bytes),
            races: Races::new(bytes),
            copying: Bits::new(bytes),
            copies: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Forgets who used it, at the end of a launch.
    pub(crate) fn settle(&mut self) {
        self.races.clear();
    }

    /// Distance of an address from the start, if all bytes lie inside.
    pub(crate) fn inside(
        &self,
        address: u64,
        length: usize,
        access: Access,
    ) -> Result<usize, FaultKind> {
        let (space, bytes) = (self.space, length as u64);
        let at = address.wrapping_sub(self.base);
        if at.checked_add(bytes).is_none_or(|end| end > self.bytes.len() as u64) {
            let near = format!("the {space} memory is {} bytes from {:#x}", self.len(), self.base);
            return Err(FaultKind::OutOfBounds { space, access, address, bytes, near });
        }
        Ok(at as usize)
    }

    /// The same, if the address is a multiple of the length too.
    pub(crate) fn place(
        &self,
        address: u64,
        length: usize,
        access: Access,
    ) -> Result<usize, FaultKind> {
        let (space, bytes) = (self.space, length as u64);
        let at = self.inside(address, length, access)?;
        if !address.is_multiple_of(bytes) {
            return Err(FaultKind::Misaligned { space, access, address, bytes });
        }
        Ok(at)
    }

    /// Reads up to 16 bytes, the first in the lowest bits.
    pub(crate) fn load(
        &mut self,
        at: usize,
        length: usize,
        who: &Who<'_>,
    ) -> Result<u128, FaultKind> {
        self.readable(at, length, who)?;
        Ok(self.value(at, length))
    }

    /// Checks a read of any length and notes it.
    pub(crate) fn readable(
        &mut self,
        at: usize,
        length: usize,
        who: &Who<'_>,
    ) -> Result<(), FaultKind> {
        self.not_copying(at, length, Access::Read)?;
        self.initialised(at, length)?;
        self.races.read(at, length, who).map_err(|race| self.race(Access::Read, race))
    }

    /// Writes up to 16 bytes.
    pub(crate) fn store(
        &mut self,
        at: usize,
        length: usize,
        value: u128,
        who: &Who<'_>,
    ) -> Result<(), FaultKind> {
        self.not_copying(at, length, Access::Write)?;
        self.races.write(at, length, who).map_err(|race| self.race(Access::Write, race))?;
        self.put(at, &value.to_le_bytes()[..length]);
        Ok(())
    }

    /// A read-modify-write; gives the value before.
    pub(crate) fn update(
        &mut self,
        at: usize,
        length: usize,
        who: &Who<'_>,
        change: impl FnOnce(u128) -> u128,
    ) -> Result<u128, FaultKind> {
        self.not_copying(at, length, Access::Atomic)?;
        self.initialised(at, length)?;
        self.races.write(at, length, who).map_err(|race| self.race(Access::Atomic, race))?;
        let before = self.value(at, length);
        self.put(at, &change(before).to_le_bytes()[..length]);
        Ok(before)
    }

    /// Bytes as they are, unchecked by the shadow.
    pub(crate) fn peek(&self, at: usize, length: usize) -> &[u8] {
        &self.bytes[at..at + length]
    }

    /// The address of the first byte of a range that was never written.
    pub(crate) fn unwritten(&self, at: usize, length: usize) -> Option<u64> {
        self.written.first_clear(at, length).map(|byte| self.base + byte as u64)
    }

    /// Writes bytes, unchecked by the shadow.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.written.set(at, bytes.len());
    }

    /// Makes a range what it was at first: never written.
    pub(crate) fn unput(&mut self, at: usize, length: usize) {
        self.written.clear(at, length);
    }

    /// Begins an asynchronous copy into a range. The range may not be used until it ends.
    pub(crate) fn begin_copy(
        &mut self,
        at: usize,
        length: usize,
        who: &Who<'_>,
    ) -> Result<(), FaultKind> {
        self.not_copying(at, length, Access::Write)?;
        self.races.write(at, length, who).map_err(|race| self.race(Access::Write, race))?;
        self.copying.set(at, length);
        self.copies.insert(at, Copy { length, thread: who.thread, line: who.line });
        Ok(())
    }

    /// Ends an asynchronous copy: its bytes arrive, written by the one who waited.
    pub(crate) fn end_copy(
        &mut self,
        at: usize,
        bytes: &[u8],
        who: &Who<'_>,
    ) -> Result<(), FaultKind> {
        self.copying.clear(at, bytes.len());
        self.copies.remove(&at);
        self.races.write(at, bytes.len(), who).map_err(|race| self.race(Access::Write, race))?;
        self.put(at, bytes);
        Ok(())
    }

    fn value(&self, at: usize, length: usize) -> u128 {
        let mut bytes = [0; 16];
        bytes[..length].copy_from_slice(&self.bytes[at..at + length]);
        u128::from_le_bytes(bytes)
    }

    fn initialised(&self, at: usize, length: usize) -> Result<(), FaultKind> {
        match self.unwritten(at, length) {
            None => Ok(()),
            Some(byte) => Err(FaultKind::Uninitialised {
                space: self.space,
                address: self.base + at as u64,
                bytes: length as u64,
                byte,
            }),
        }
    }

    fn not_copying(&self, at: usize, length: usize, access: Access) -> Result<(), FaultKind> {
        let Some(byte) = self.copying.first_set(at, length) else { return Ok(()) };
        let copy = self.copies.range(..=byte).next_back().filter(|(at, c)| byte < **at + c.length);
        let (thread, line) = copy.map_or((0, 0), |(_, c)| (c.thread, c.line));
        let (space, address) = (self.space, self.base + byte as u64);
        Err(FaultKind::PendingCopy { space, access, address, thread, line })
    }

    fn race(&self, access: Access, (byte, other): (usize, crate::Party)) -> FaultKind {
        FaultKind::Race { space: self.space, access, address: self.base + byte as u64, other }
    }
}
