//! `cp.async`: copies from global to shared memory that go on while the thread does other things.
//!
//! A copy reads its source when it is begun and writes when it is waited for: the earliest and the latest that a GPU may.
//! In between nobody may use the bytes, which the shadow watches.

use super::mbarrier::Flight;
use crate::machine::memory::{Way, resolve};
use crate::machine::{Step, Stepped, lanes, trip};
use crate::parse::{Line, Operand, Read};
use crate::program::{Address, Predicate, Source};
use crate::{Access, FaultKind, Space};
use std::collections::VecDeque;

/// `cp.async` and what waits for it.
#[derive(Debug, Clone)]
pub(crate) enum AsyncCopy {
    Copy {
        to: Address,
        from: Address,
        bytes: usize,
        /// Bytes that are copied; the others are set to zero.
        given: Option<Source>,
        /// Where it holds nothing is copied and all is set to zero.
        ignore: Option<Predicate>,
    },
    Commit,
    /// Until at most so many of the latest groups are not complete.
    Wait(usize),
    WaitAll,
    /// All copies so far arrive at a barrier when they are complete.
    Arrive {
        at: Address,
        grows: bool,
    },
    /// Many bytes at once, which arrive at a barrier.
    Bulk {
        to: Address,
        from: Address,
        bytes: Source,
        barrier: Address,
    },
    /// Only a hint, but of bytes that are there.
    Prefetch {
        from: Address,
        bytes: Source,
    },
}

/// A copy that was begun.
#[derive(Debug, Clone)]
struct Begun {
    at: usize,
    bytes: Vec<u8>,
}

/// The copies of a lane, by group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Groups {
    open: Vec<Begun>,
    closed: VecDeque<Vec<Begun>>,
}

impl AsyncCopy {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        if !line.flag("async") {
            return Err(line.unknown());
        }
        if line.flag("mbarrier") {
            return Self::arrive(line);
        }
        if line.flag("bulk") {
            return Self::bulk(line);
        }
        if line.flag("commit_group") {
            return line.finish(0).map(|()| Self::Commit);
        }
        if line.flag("wait_all") {
            return line.finish(0).map(|()| Self::WaitAll);
        }
        if line.flag("wait_group") {
            line.finish(1)?;
            return Ok(Self::Wait(line.immediate(0)? as usize));
        }
        let caching = line.any(&["ca", "cg"]).ok_or_else(|| line.unknown())?;
        line.cache_hints();
        line.any(&["shared", "shared::cta"]).ok_or_else(|| line.unknown())?;
        line.any(&["global"]).ok_or_else(|| line.unknown())?;
        let count = line.operands.len();
        if count != 3 && count != 4 {
            return Err(line.unknown());
        }
        line.finish(count)?;
        let bytes = line.immediate(2)? as usize;
        let sizes: &[usize] = if caching == "cg" { &[16] } else { &[4, 8, 16] };
        if !sizes.contains(&bytes) {
            return Err(line.failure(&format!("a copy of {bytes} bytes")));
        }
        let (mut given, mut ignore) = (None, None);
        match line.operands.get(3) {
            None => {}
            Some(Operand::Predicate { .. }) => ignore = Some(line.predicate(3)?),
            Some(_) => given = Some(line.source(3)?),
        }
        Ok(Self::Copy { to: line.address(0)?, from: line.address(1)?, bytes, given, ignore })
    }

    fn arrive(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        line.any(&["arrive"]).ok_or_else(|| line.unknown())?;
        let grows = !line.flag("noinc");
        line.any(&["shared", "shared::cta"]);
        line.types();
        line.finish(1)?;
        Ok(Self::Arrive { at: line.address(0)?, grows })
    }

    fn bulk(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        if line.flag("prefetch") {
            line.any(&["L2"]).ok_or_else(|| line.unknown())?;
            line.any(&["global"]).ok_or_else(|| line.unknown())?;
            line.finish(2)?;
            return Ok(Self::Prefetch { from: line.address(0)?, bytes: line.source(1)? });
        }
        line.any(&["shared::cluster", "shared::cta"]).ok_or_else(|| line.unknown())?;
        line.any(&["global"]).ok_or_else(|| line.unknown())?;
        line.any(&["mbarrier::complete_tx::bytes"]).ok_or_else(|| line.unknown())?;
        line.finish(4)?;
        let (to, from, barrier) = (line.address(0)?, line.address(1)?, line.address(3)?);
        Ok(Self::Bulk { to, from, bytes: line.source(2)?, barrier })
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<()> {
        match self {
            Self::Copy { to, from, bytes, given, ignore } => {
                let (targets, sources) = (step.addresses(to), step.addresses(from));
                let given = given.map(|g| step.get(g));
                let ignored = ignore.map_or(0, |p| step.holds(p));
                for lane in lanes(step.mask) {
                    let mut count = given.map_or(*bytes, |g| g[lane] as u32 as usize);
                    if ignored >> lane & 1 == 1 {
                        count = 0;
                    }
                    begin(step, lane, targets[lane], sources[lane], *bytes, count)
                        .map_err(|kind| trip(lane, kind))?;
                }
                Ok(())
            }
            Self::Arrive { at, grows } => {
                let addresses = step.addresses(at);
                for lane in lanes(step.mask) {
                    let groups = std::mem::take(&mut step.warp.copies[lane]);
                    let all = groups.closed.into_iter().flatten().chain(groups.open);
                    let flight = Flight {
                        parts: all.map(|begun| (begun.at, begun.bytes)).collect(),
                        bytes: 0,
                        arrivals: 1,
                        by: step.env.clocks.arrive(step.thread(lane)),
                        line: step.line,
                    };
                    step.launch_flight(lane, addresses[lane], flight, *grows)?;
                }
                Ok(())
            }
            Self::Bulk { to, from, bytes, barrier } => bulk(step, [to, from, barrier], *bytes),
            Self::Prefetch { from, bytes } => {
                let (from, bytes) = (step.addresses(from), step.get(*bytes));
                for lane in lanes(step.mask) {
                    let length = bytes[lane] as u32 as usize;
                    whole_pieces(from[lane], 0, length)
                        .and_then(|()| {
                            step.world.global.region(from[lane], length, Access::Read).map(drop)
                        })
                        .map_err(|kind| trip(lane, kind))?;
                }
                Ok(())
            }
            Self::Commit => {
                for lane in lanes(step.mask) {
                    commit(&mut step.warp.copies[lane]);
                }
                Ok(())
            }
            Self::Wait(left) => wait(step, *left),
            Self::WaitAll => {
                for lane in lanes(step.mask) {
                    commit(&mut step.warp.copies[lane]);
                }
                wait(step, 0)
            }
        }
    }
}

fn commit(groups: &mut Groups) {
    let open = std::mem::take(&mut groups.open);
    groups.closed.push_back(open);
}

fn begin(
    step: &mut Step<'_>,
    lane: usize,
    target: u64,
    source: u64,
    bytes: usize,
    count: usize,
) -> Result<(), FaultKind> {
    if count > bytes {
        let what = format!("cp.async of {bytes} bytes with {count} bytes given");
        return Err(FaultKind::Invalid(what));
    }
    let mut value = vec![0; bytes];
    if count > 0 {
        if !source.is_multiple_of(bytes as u64) {
            let (space, access, bytes) = (Space::Global, Access::Read, bytes as u64);
            return Err(FaultKind::Misaligned { space, access, address: source, bytes });
        }
        let way = Way { space: Some(Space::Global), bytes: count, strong: None };
        let (region, who) = step.region(lane, Space::Global, source, way, Access::Read)?;
        let at = (source - region.base()) as usize;
        region.readable(at, count, &who)?;
        value[..count].copy_from_slice(region.peek(at, count));
    }
    let (space, target) = resolve(Some(Space::Shared), target);
    let way = Way { space: Some(space), bytes, strong: None };
    let (region, who) = step.region(lane, space, target, way, Access::Write)?;
    let at = region.place(target, bytes, Access::Write)?;
    region.begin_copy(at, bytes, &who)?;
    step.env.proxy.writable(at, bytes)?;
    step.warp.copies[lane].open.push(Begun { at, bytes: value });
    Ok(())
}

/// `cp.async.bulk` of target, source and barrier.
fn bulk(step: &mut Step<'_>, operands: [&Address; 3], bytes: Source) -> Stepped<()> {
    let [to, from, barrier] = operands.map(|a| step.addresses(a));
    let bytes = step.get(bytes);
    for lane in lanes(step.mask) {
        let length = bytes[lane] as u32 as usize;
        let (at, value) = begin_bulk(step, lane, to[lane], from[lane], length)
            .map_err(|kind| trip(lane, kind))?;
        let flight = Flight {
            parts: vec![(at, value)],
            bytes: length as i64,
            arrivals: 0,
            by: step.env.clocks.arrive(step.thread(lane)),
            line: step.line,
        };
        step.launch_flight(lane, barrier[lane], flight, false)?;
    }
    Ok(())
}

/// Fails where not everything about a copy of many bytes is a multiple of 16.
fn whole_pieces(source: u64, target: u64, length: usize) -> Result<(), FaultKind> {
    if (target | source | length as u64).is_multiple_of(16) && length > 0 {
        return Ok(());
    }
    let what = format!(
        "cp.async.bulk of {length} bytes from {source:#x} to {target:#x}, which must be multiples of 16"
    );
    Err(FaultKind::Invalid(what))
}

/// Begins a copy of many bytes; gives where they go, and what they are.
fn begin_bulk(
    step: &mut Step<'_>,
    lane: usize,
    target: u64,
    source: u64,
    length: usize,
) -> Result<(usize, Vec<u8>), FaultKind> {
    whole_pieces(source, target, length)?;
    let way = Way { space: Some(Space::Global), bytes: length, strong: None };
    let (region, who) = step.region(lane, Space::Global, source, way, Access::Read)?;
    let at = (source - region.base()) as usize;
    region.readable(at, length, &who)?;
    let value = region.peek(at, length).to_vec();
    let (space, target) = resolve(Some(Space::Shared), target);
    let (region, who) = step.region(lane, space, target, way, Access::Write)?;
    let at = region.inside(target, length, Access::Write)?;
    region.begin_copy(at, length, &who)?;
    step.env.proxy.writable(at, length)?;
    Ok((at, value))
}

fn wait(step: &mut Step<'_>, left: usize) -> Stepped<()> {
    let way = Way { space: Some(Space::Shared), bytes: 0, strong: None };
    for lane in lanes(step.mask) {
        while step.warp.copies[lane].closed.len() > left {
            let group = step.warp.copies[lane].closed.pop_front().unwrap_or_default();
            for copy in group {
                step.region(lane, Space::Shared, 0, way, Access::Write)
                    .and_then(|(region, who)| region.end_copy(copy.at, &copy.bytes, &who))
                    .map_err(|kind| trip(lane, kind))?;
                step.stored(lane, copy.at, copy.bytes.len());
            }
        }
    }
    Ok(())
}
