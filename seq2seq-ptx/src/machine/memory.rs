//! Loads and stores of lanes, by space.

use super::{Lanes, Step, Stepped, WARP, lanes, trip};
use crate::program::Address;
use crate::shadow::Who;
use crate::shadow::release::Strong;
use crate::{Access, FaultKind, Space};

/// Generic addresses of shared memory begin here, one window for the whole launch.
pub(crate) const SHARED_WINDOW: u64 = 0x0100_0000_0000_0000;
/// Generic addresses of local memory begin here.
pub(crate) const LOCAL_WINDOW: u64 = 0x0200_0000_0000_0000;
const WINDOW: u64 = 0x0100_0000_0000_0000;

/// The space of a generic address, and the address in it.
pub(crate) fn resolve(space: Option<Space>, address: u64) -> (Space, u64) {
    match space {
        Some(Space::Shared) => (Space::Shared, address & 0xffff_ffff),
        Some(space) => (space, address),
        None if address < SHARED_WINDOW => (Space::Global, address),
        None if address < LOCAL_WINDOW => (Space::Shared, address - SHARED_WINDOW),
        None if address < LOCAL_WINDOW + WINDOW => (Space::Local, address - LOCAL_WINDOW),
        None => (Space::Global, address),
    }
}

/// How memory is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// None for generic addresses.
    pub(crate) space: Option<Space>,
    /// Bytes of a lane's access.
    pub(crate) bytes: usize,
    /// Set for volatile, relaxed and stronger operations.
    pub(crate) strong: Option<Strong>,
}

impl Step<'_> {
    /// The lanes' addresses.
    pub(crate) fn addresses(&self, address: &Address) -> Lanes {
        let frame = if address.frame { self.bases.frame as u64 } else { 0 };
        let offset = frame.wrapping_add(address.offset as u64);
        self.get(address.base).map(|base| base.wrapping_add(offset))
    }

    /// Who a lane is, for the shadow.
    pub(crate) fn thread(&self, lane: usize) -> u32 {
        (self.warp.index * WARP + lane) as u32
    }

    /// Reads up to 16 bytes a lane.
    pub(crate) fn load(&mut self, at: &Lanes, way: Way) -> Stepped<[u128; WARP]> {
        let mut values = [0; WARP];
        for lane in lanes(self.mask) {
            values[lane] = self.load_lane(lane, at[lane], way).map_err(|kind| trip(lane, kind))?;
        }
        Ok(values)
    }

    fn load_lane(&mut self, lane: usize, address: u64, way: Way) -> Result<u128, FaultKind> {
        let (space, at) = resolve(way.space, address);
        self.order(lane, space, at, way);
        let bytes = way.bytes;
        match space {
            Space::Local => {
                let at = self.local_place(at, bytes, Access::Read)?;
                self.warp.local.load(lane, at, bytes).map_err(|byte| FaultKind::Uninitialised {
                    space,
                    address,
                    bytes: bytes as u64,
                    byte: byte as u64,
                })
            }
            Space::Param => self.world.parameter(at, bytes),
            Space::Shared | Space::Global | Space::Const => {
                let (region, who) = self.region(lane, space, at, way, Access::Read)?;
                let place = region.place(at, bytes, Access::Read)?;
                region.load(place, bytes, &who)
            }
        }
    }

    /// Writes up to 16 bytes a lane.
    pub(crate) fn store(&mut self, at: &Lanes, values: &[u128; WARP], way: Way) -> Stepped<()> {
        for lane in lanes(self.mask) {
            self.store_lane(lane, at[lane], values[lane], way).map_err(|kind| trip(lane, kind))?;
        }
        Ok(())
    }

    fn store_lane(
        &mut self,
        lane: usize,
        address: u64,
        value: u128,
        way: Way,
    ) -> Result<(), FaultKind> {
        let (space, at) = resolve(way.space, address);
        self.order(lane, space, at, way);
        match space {
            Space::Local => {
                let at = self.local_place(at, way.bytes, Access::Write)?;
                self.warp.local.store(lane, at, way.bytes, value);
                Ok(())
            }
            Space::Param | Space::Const => {
                Err(FaultKind::Invalid(format!("write of {space} memory")))
            }
            Space::Shared | Space::Global => {
                let (region, who) = self.region(lane, space, at, way, Access::Write)?;
                let place = region.place(at, way.bytes, Access::Write)?;
                region.store(place, way.bytes, value, &who)?;
                self.world.changes += 1;
                if space == Space::Shared {
                    self.env.proxy.writable(place, way.bytes)?;
                    self.stored(lane, place, way.bytes);
                }
                Ok(())
            }
        }
    }

    /// Notes what asynchronous units do not see before a proxy fence.
    pub(crate) fn stored(&mut self, lane: usize, at: usize, bytes: usize) {
        if self.env.proxied {
            let thread = self.thread(lane);
            let now = self.env.clocks.threads[thread as usize].now;
            self.env.proxy.store(at, bytes, (thread, now, self.line));
        }
    }

    /// A read-modify-write of one lane; gives the value before.
    pub(crate) fn update(
        &mut self,
        lane: usize,
        address: u64,
        way: Way,
        change: impl FnOnce(u128) -> u128,
    ) -> Stepped<u128> {
        let (space, at) = resolve(way.space, address);
        self.order(lane, space, at, way);
        let found = self.region(lane, space, at, way, Access::Atomic);
        let mut changed = false;
        let before = found.and_then(|(region, who)| {
            let place = region.place(at, way.bytes, Access::Atomic)?;
            region.update(place, way.bytes, &who, |before| {
                let after = change(before);
                changed = after != before;
                after
            })
        });
        self.world.changes += u64::from(changed);
        before.map_err(|kind| trip(lane, kind))
    }

    /// The region of shared or global memory, and who a lane is.
    pub(crate) fn region(
        &mut self,
        lane: usize,
        space: Space,
        at: u64,
        way: Way,
        access: Access,
    ) -> Result<(&mut crate::shadow::Region, Who<'_>), FaultKind> {
        let thread = self.thread(lane);
        let clocks = &self.env.clocks;
        let who = Who {
            block: clocks.block,
            thread,
            line: self.line,
            strong: way.strong.is_some(),
            cooperative: self.env.shape.cooperative,
            clock: &clocks.threads[thread as usize],
        };
        let region = match space {
            Space::Shared => &mut self.env.shared,
            Space::Global | Space::Const => {
                let region = self.world.global.region(at, way.bytes, access)?;
                if let Some(chain) = &mut self.world.chain
                    && space == Space::Global
                {
                    chain.access(self.warp.waited >> lane & 1 == 1, access, at, way.bytes)?;
                }
                region
            }
            other => return Err(FaultKind::Invalid(format!("{access} of {other} memory"))),
        };
        Ok((region, who))
    }

    fn local_place(&self, at: u64, bytes: usize, access: Access) -> Result<usize, FaultKind> {
        let (space, length, size) = (Space::Local, bytes as u64, self.warp.local.len());
        if at.checked_add(length).is_none_or(|end| end > size as u64) {
            let near = format!("a thread has {size} bytes");
            return Err(FaultKind::OutOfBounds { space, access, address: at, bytes: length, near });
        }
        if !at.is_multiple_of(length) {
            return Err(FaultKind::Misaligned { space, access, address: at, bytes: length });
        }
        Ok(at as usize)
    }

    /// Orders what lies around a strong operation.
    fn order(&mut self, lane: usize, space: Space, at: u64, way: Way) {
        let Some(strong) = way.strong else { return };
        let thread = self.thread(lane) as usize;
        let clocks = &mut self.env.clocks;
        match space {
            Space::Shared => self.env.releases.access(clocks, thread, at, strong),
            Space::Global => self.world.releases.access(clocks, thread, at, strong),
            _ => {}
        }
    }
}
