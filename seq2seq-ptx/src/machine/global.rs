//! Device memory: allocations far apart, each with its shadow.

use crate::shadow::Region;
use crate::{Access, FaultKind, Space};

/// Where the first allocation lies.
const START: u64 = 0x7_0000_0000;
/// Unused addresses between allocations, so that an index out of range does not hit another one.
const GAP: u64 = 1 << 20;
const ALIGN: u64 = 256;

/// An allocation, or what is left of it.
#[derive(Debug)]
struct Allocation {
    base: u64,
    bytes: u64,
    /// None once it is freed.
    region: Option<Region>,
    constant: bool,
}

/// Device memory.
#[derive(Debug)]
pub(crate) struct Global {
    total: u64,
    used: u64,
    next: u64,
    /// In order of their addresses, which are never used again.
    allocations: Vec<Allocation>,
}

impl Global {
    pub(crate) fn new(total: u64) -> Self {
        Self { total, used: 0, next: START, allocations: Vec::new() }
    }

    /// Free and all bytes.
    pub(crate) fn room(&self) -> (u64, u64) {
        (self.total - self.used, self.total)
    }

    pub(crate) fn alloc(&mut self, bytes: u64, constant: bool) -> Result<u64, FaultKind> {
        let needed = bytes.max(1).checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX);
        let (free, total) = self.room();
        if needed > free {
            return Err(FaultKind::OutOfMemory { needed, free, total });
        }
        let space = if constant { Space::Const } else { Space::Global };
        let base = self.next;
        self.used += needed;
        self.next = (base + needed + GAP).next_multiple_of(ALIGN);
        let region = Some(Region::new(space, base, bytes as usize));
        self.allocations.push(Allocation { base, bytes, region, constant });
        Ok(base)
    }

    pub(crate) fn free(&mut self, pointer: u64) -> Result<(), FaultKind> {
        let found = self.allocations.binary_search_by_key(&pointer, |a| a.base);
        let live = found.ok().filter(|at| self.allocations[*at].region.is_some());
        let at = live.ok_or(FaultKind::InvalidFree(pointer))?;
        self.allocations[at].region = None;
        self.used -= self.allocations[at].bytes.max(1).next_multiple_of(ALIGN);
        Ok(())
    }

    /// The memory of an address; whether it is right is for the region to say.
    pub(crate) fn region(
        &mut self,
        address: u64,
        bytes: usize,
        access: Access,
    ) -> Result<&mut Region, FaultKind> {
        let length = bytes as u64;
        let after = self.allocations.partition_point(|a| a.base <= address);
        let outside = |near: String| {
            let space = Space::Global;
            Err(FaultKind::OutOfBounds { space, access, address, bytes: length, near })
        };
        let Some(at) = after.checked_sub(1) else {
            return outside("no allocation lies below it".into());
        };
        let a = &mut self.allocations[at];
        let offset = address - a.base;
        if offset.checked_add(length).is_none_or(|end| end > a.bytes) {
            return outside(format!(
                "it lies {offset} bytes into an allocation of {} bytes at {:#x}",
                a.bytes, a.base
            ));
        }
        if a.constant && access != Access::Read {
            return Err(FaultKind::Invalid(format!("{access} of a .const variable")));
        }
        a.region.as_mut().ok_or(FaultKind::UseAfterFree { access, address, bytes: length, offset })
    }

    /// Ends a launch: the next one comes after all that happened.
    pub(crate) fn settle(&mut self) {
        self.allocations.iter_mut().filter_map(|a| a.region.as_mut()).for_each(Region::settle);
    }
}
