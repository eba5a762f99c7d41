//! Barriers in shared memory, and the copies that arrive at them.

use crate::machine::memory::Way;
use crate::machine::{Lanes, Step, Stepped, WARP, lanes, trip};
use crate::parse::{Line, Read};
use crate::program::{Address, Source, Target};
use crate::shadow::clock::{Arrived, Snapshot};
use crate::shadow::release::Strong;
use crate::shadow::{Clocks, Who};
use crate::{FaultKind, Space};
use std::collections::BTreeMap;

/// An operation on a barrier in shared memory.
#[derive(Debug, Clone)]
pub(crate) struct MBarrier {
    action: Action,
    at: Address,
}

#[derive(Debug, Clone)]
enum Action {
    /// With so many arrivals a phase.
    Init(Source),
    Invalidate,
    /// `state`, arrivals, and bytes that are to come by copies.
    Arrive {
        state: Option<Target>,
        count: Option<Source>,
        bytes: Option<Source>,
    },
    Expect(Source),
    /// Whether a phase is complete: the one of a state, or of a parity.
    Test {
        done: u32,
        phase: Source,
        parity: bool,
    },
}

/// A barrier while it is in use.
#[derive(Debug, Default)]
struct State {
    count: i64,
    pending: i64,
    /// Bytes that are to come.
    bytes: i64,
    phase: u64,
    arrived: Vec<Arrived>,
    passed: Option<Snapshot>,
    flights: Vec<Flight>,
}

/// A copy that will arrive: it lands when somebody cannot go on without it, as late as a GPU may let it.
#[derive(Debug)]
pub(crate) struct Flight {
    /// First bytes in shared memory, and what goes there.
    pub(crate) parts: Vec<(usize, Vec<u8>)>,
    /// What it counts for: bytes, or an arrival.
    pub(crate) bytes: i64,
    pub(crate) arrivals: i64,
    pub(crate) by: Arrived,
    pub(crate) line: u32,
}

/// The barriers of a block, by their place.
#[derive(Debug, Default)]
pub(crate) struct MBarriers(BTreeMap<u64, State>);

impl MBarrier {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        let names = ["init", "inval", "arrive", "expect_tx", "test_wait", "try_wait"];
        let name = line.any(&names).ok_or_else(|| line.unknown())?;
        let expects = name == "arrive" && line.flag("expect_tx");
        let parity = line.flag("parity");
        line.any(&["release", "acquire", "relaxed"]);
        line.flag("cta");
        line.any(&["shared", "shared::cta"]);
        line.types();
        let count = line.operands.len();
        line.finish(count)?;
        let (place, action) = match (name, count) {
            ("init", 2) => (0, Action::Init(line.source(1)?)),
            ("inval", 1) => (0, Action::Invalidate),
            ("expect_tx", 2) => (0, Action::Expect(line.source(1)?)),
            ("arrive", 2 | 3) => {
                let more = if count == 3 { Some(line.source(2)?) } else { None };
                let (count, bytes) = if expects { (None, more) } else { (more, None) };
                (1, Action::Arrive { state: Some(line.target(0)?), count, bytes })
            }
            ("test_wait" | "try_wait", 3 | 4) => {
                let done = line.predicate_target(0)?;
                (1, Action::Test { done, phase: line.source(2)?, parity })
            }
            _ => return Err(line.unknown()),
        };
        Ok(Self { action, at: line.address(place)? })
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<()> {
        let addresses = step.addresses(&self.at);
        match &self.action {
            Action::Init(count) => {
                let counts = step.get(*count);
                let way = Way { space: Some(Space::Shared), bytes: 8, strong: None };
                step.store(&addresses, &[0; WARP], way)?;
                for lane in lanes(step.mask) {
                    let count = i64::from(counts[lane] as u32);
                    let state = State { count, pending: count, ..State::default() };
                    step.env.mbarriers.0.insert(place(addresses[lane]), state);
                }
            }
            Action::Invalidate => {
                for lane in lanes(step.mask) {
                    touch(step, lane, addresses[lane])?;
                    step.env.mbarriers.0.remove(&place(addresses[lane]));
                }
            }
            Action::Arrive { state, count, bytes } => {
                let counts = count.map_or([1; WARP], |c| step.get(c));
                let bytes = bytes.map_or([0; WARP], |b| step.get(b));
                let mut phases: Lanes = [0; WARP];
                for lane in lanes(step.mask) {
                    touch(step, lane, addresses[lane])?;
                    let arrived = step.env.clocks.arrive(step.thread(lane));
                    let (state, clocks) = find(step, lane, addresses[lane])?;
                    phases[lane] = state.phase;
                    state.bytes += i64::from(bytes[lane] as u32);
                    state.arrive(i64::from(counts[lane] as u32), arrived, clocks);
                }
                if let Some(to) = state {
                    step.set(*to, &phases);
                }
            }
            Action::Expect(bytes) => {
                let bytes = step.get(*bytes);
                for lane in lanes(step.mask) {
                    touch(step, lane, addresses[lane])?;
                    let (state, _) = find(step, lane, addresses[lane])?;
                    state.bytes += i64::from(bytes[lane] as u32);
                }
            }
            Action::Test { done, phase, parity } => test(step, &addresses, *done, *phase, *parity)?,
        }
        Ok(())
    }
}

fn test(
    step: &mut Step<'_>,
    addresses: &Lanes,
    done: u32,
    phase: Source,
    parity: bool,
) -> Stepped<()> {
    let (asked, mut bits) = (step.get(phase), 0u32);
    for lane in lanes(step.mask) {
        touch(step, lane, addresses[lane])?;
        let complete = |state: &State| {
            if parity { state.phase % 2 != asked[lane] & 1 } else { state.phase > asked[lane] }
        };
        if !complete(find(step, lane, addresses[lane])?.0) {
            land(step, lane, addresses[lane])?;
        }
        let thread = step.thread(lane) as usize;
        let (state, clocks) = find(step, lane, addresses[lane])?;
        let complete = complete(state);
        if complete {
            bits |= 1 << lane;
            if let Some(passed) = &state.passed {
                let block = clocks.block;
                clocks.threads[thread].learn(block, passed);
            }
        }
    }
    step.env.poll |= bits != step.mask;
    step.set_predicate(done, bits);
    Ok(())
}

impl State {
    fn arrive(&mut self, count: i64, by: Arrived, clocks: &Clocks) {
        self.pending -= count;
        self.arrived.push(by);
        self.settle(clocks);
    }

    /// Begins the next phase if this one is complete.
    fn settle(&mut self, clocks: &Clocks) {
        if self.pending <= 0 && self.bytes == 0 {
            self.phase += 1;
            self.pending = self.count;
            self.passed = Some(clocks.join(&std::mem::take(&mut self.arrived)));
        }
    }
}

impl Step<'_> {
    /// Lets a copy arrive at a barrier when it lands. `grows` counts it as one arrival more than was agreed.
    pub(crate) fn launch_flight(
        &mut self,
        lane: usize,
        barrier: u64,
        flight: Flight,
        grows: bool,
    ) -> Stepped<()> {
        touch(self, lane, barrier)?;
        let (state, _) = find(self, lane, barrier)?;
        state.pending += i64::from(grows);
        state.flights.push(flight);
        Ok(())
    }
}

fn place(address: u64) -> u64 {
    address & 0xffff_ffff
}

/// An access to the barrier's own bytes: who did not wait for its initialisation races.
fn touch(step: &mut Step<'_>, lane: usize, address: u64) -> Stepped<()> {
    let strong =
        Strong { reads: false, writes: false, acquire: false, release: false, device: false };
    let way = Way { space: Some(Space::Shared), bytes: 8, strong: Some(strong) };
    step.update(lane, address, way, |old| old).map(|_| ())
}

fn find<'s>(
    step: &'s mut Step<'_>,
    lane: usize,
    address: u64,
) -> Stepped<(&'s mut State, &'s mut Clocks)> {
    let env = &mut *step.env;
    match env.mbarriers.0.get_mut(&place(address)) {
        Some(state) => Ok((state, &mut env.clocks)),
        None => {
            let what =
                format!("no barrier was initialised at shared address {:#x}", place(address));
            Err(trip(lane, FaultKind::Invalid(what)))
        }
    }
}

/// Lands all copies that are on their way to a barrier.
fn land(step: &mut Step<'_>, lane: usize, address: u64) -> Stepped<()> {
    let env = &mut *step.env;
    let Some(state) = env.mbarriers.0.get_mut(&place(address)) else { return Ok(()) };
    for flight in std::mem::take(&mut state.flights) {
        let clock = flight.by.clock();
        let (block, thread) = (env.clocks.block, flight.by.thread);
        let who = Who {
            block,
            thread,
            line: flight.line,
            strong: false,
            cooperative: false,
            clock: &clock,
        };
        for (at, bytes) in &flight.parts {
            env.shared.end_copy(*at, bytes, &who).map_err(|kind| trip(lane, kind))?;
            if flight.arrivals > 0 && env.proxied {
                // Ordinary asynchronous copies write through the ordinary proxy, those of many bytes do not.
                env.proxy.store(*at, bytes.len(), (thread, clock.now, flight.line));
            }
        }
        state.bytes -= flight.bytes;
        state.pending -= flight.arrivals;
        state.arrived.push(flight.by);
    }
    state.settle(&env.clocks);
    Ok(())
}
