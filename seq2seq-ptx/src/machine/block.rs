//! A block of threads: its warps, its shared memory, its barriers.

use super::barrier::Barrier;
use super::runner::Runner;
use super::warp::{Bases, Split, Wait, Warp};
use super::{Lanes, Trip, World};
use crate::isa::mbarrier::MBarriers;
use crate::module::Module;
use crate::program::Function;
use crate::shadow::proxy::Proxy;
use crate::shadow::release::Releases;
use crate::shadow::{Clocks, Region};
use crate::{Fault, FaultKind, Launch, Site, Space};

/// What the warps of a block share.
#[derive(Debug)]
pub(crate) struct Env {
    /// Index of the block along each axis.
    pub(crate) place: [u32; 3],
    pub(crate) shape: Launch,
    pub(crate) shared: Region,
    pub(crate) clocks: Clocks,
    pub(crate) releases: Releases,
    pub(crate) proxy: Proxy,
    pub(crate) mbarriers: MBarriers,
    /// Whether the kernel uses units that read through the asynchronous proxy.
    pub(crate) proxied: bool,
    pub(crate) barriers: Vec<Barrier>,
    /// Threads that have not ended.
    pub(crate) live: u32,
    /// Set by an instruction that seems to wait for another thread.
    pub(crate) poll: bool,
}

/// A kernel that is running.
pub(crate) struct Code<'m> {
    pub(crate) module: &'m Module,
    pub(crate) kernel: u32,
    /// Constants of each function.
    pub(crate) constants: Vec<Vec<Lanes>>,
}

impl Code<'_> {
    pub(crate) fn function(&self, index: u32) -> &Function {
        &self.module.functions()[index as usize]
    }
}

/// How far a block got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    /// It ran long, or some of its warps wait for other blocks.
    Yields,
    /// Whatever of it can run waits for other blocks.
    Waits,
}

/// A block of threads.
#[derive(Debug)]
pub(crate) struct Block {
    env: Env,
    warps: Vec<Warp>,
}

/// Warp instructions that a warp runs before another has its turn, and a block before another has.
const SLICE: u64 = 1 << 16;

impl Block {
    pub(crate) fn new(index: u32, shape: &Launch, code: &Code<'_>) -> Self {
        let [gx, gy, _] = shape.grid;
        let threads = shape.block.iter().product::<u32>();
        let kernel = code.function(code.kernel);
        let shared = kernel.dynamic_start() + shape.dynamic_shared;
        let warps = (0..threads.div_ceil(32) as usize).map(|w| {
            let left = threads - w as u32 * 32;
            let mut warp =
                Warp::new(w, if left >= 32 { u32::MAX } else { (1 << left) - 1 }, code.kernel);
            let f = kernel;
            warp.reserve(Bases::default(), f.registers, f.predicates, f.frame);
            warp
        });
        let env = Env {
            shape: *shape,
            place: [index % gx, index / gx % gy, index / gx / gy],
            shared: Region::new(Space::Shared, 0, shared as usize),
            clocks: Clocks::new(index, threads as usize),
            releases: Releases::default(),
            proxy: Proxy::default(),
            mbarriers: MBarriers::default(),
            proxied: kernel.proxied,
            barriers: vec![Barrier::default(); 16],
            live: threads,
            poll: false,
        };
        Self { warps: warps.collect(), env }
    }

    /// Runs until it is done, or waits for others.
    pub(crate) fn run(&mut self, code: &Code<'_>, world: &mut World) -> Result<Progress, Fault> {
        let start = world.spent;
        loop {
            let (mut steps, mut polls, mut busy) = (0, 0, 0);
            let first = if world.random.is_some() { world.draw(self.warps.len()) } else { 0 };
            for turn in 0..self.warps.len() {
                let at = (first + turn) % self.warps.len();
                let slice = if world.random.is_some() { 1 + world.draw(96) as u64 } else { SLICE };
                let ran = self.run_warp(at, slice, code, world)?;
                steps += ran;
                let polled = std::mem::take(&mut self.env.poll);
                polls += u64::from(polled);
                // Lanes that wait may do so for others of their warp, who can run.
                busy += u64::from(ran > 0 && !(polled && self.warps[at].runnable() == 1));
                self.release();
            }
            if self.env.live == 0 {
                let waited = self.warps.iter().any(|w| w.waited != 0);
                return match world.chain {
                    Some(_) if !waited => Err(self.ends_without_wait(code)),
                    _ => Ok(Progress::Done),
                };
            }
            if steps == 0 {
                return Err(self.stuck(code));
            }
            if polls > 0 || world.spent - start > 16 * SLICE {
                let waits = polls > 0 && busy == 0;
                return Ok(if waits { Progress::Waits } else { Progress::Yields });
            }
        }
    }

    /// Lets go on who waits at a barrier that has completed.
    fn release(&mut self) {
        let live = self.env.live;
        for barrier in &mut self.env.barriers {
            barrier.settle(live, &mut self.env.clocks);
        }
        for split in self.warps.iter_mut().flat_map(|w| &mut w.splits) {
            if let Wait::Barrier { id, generation } = split.wait
                && self.env.barriers[id].generation > generation
            {
                split.wait = Wait::No;
                split.passed = Some(self.env.barriers[id].result);
            }
        }
    }

    /// Runs a warp until all its lanes wait or the slice is over; gives the steps it took.
    fn run_warp(
        &mut self,
        at: usize,
        slice: u64,
        code: &Code<'_>,
        world: &mut World,
    ) -> Result<u64, Fault> {
        let warp = &mut self.warps[at];
        let mut steps = 0;
        while steps < slice && !warp.splits.is_empty() {
            let Some(split) = warp.pick() else { break };
            steps += 1;
            world.spent += 1;
            let place = (warp.splits[split].function, warp.splits[split].pc);
            let mut runner = Runner { warp, env: &mut self.env, world, code, split };
            let result = runner.step();
            let lane = warp.lanes.trailing_zeros();
            let result = match result {
                Ok(()) if world.spent > world.budget => {
                    Err(Box::new(Trip { lane, kind: FaultKind::Runaway(world.budget) }))
                }
                other => other,
            };
            if let Err(trip) = result {
                return Err(Self::fault(*trip, at, place, code, &self.env));
            }
            if self.env.poll {
                break;
            }
        }
        Ok(steps)
    }

    fn fault(
        trip: Trip,
        warp: usize,
        (function, pc): (u32, u32),
        code: &Code<'_>,
        env: &Env,
    ) -> Fault {
        let [x, y, _] = env.shape.block;
        let thread = warp as u32 * 32 + trip.lane;
        let f = code.function(function);
        let instruction = f.code.get(pc as usize).or(f.code.last());
        let (line, (file, source)) = instruction.map_or((0, (0, 0)), |i| (i.line, i.source));
        let site = Site {
            module: code.module.name().to_owned(),
            kernel: code.function(code.kernel).name.clone(),
            block: env.place,
            thread: [thread % x, thread / x % y, thread / x / y],
            line,
            text: code.module.line(line),
            source: code.module.file(file).map(|f| (f.to_owned(), source)),
        };
        Fault { kind: trip.kind, site: Some(Box::new(site)) }
    }

    /// Its first thread has to answer for it.
    fn ends_without_wait(&self, code: &Code<'_>) -> Fault {
        let trip = Trip { lane: 0, kind: FaultKind::EndsWithoutWait };
        Self::fault(trip, 0, (code.kernel, u32::MAX), code, &self.env)
    }

    /// No block can go on, of `count` that are running and some that have not begun: says what this one waits for.
    pub(crate) fn waits_for_ever(&self, code: &Code<'_>, count: usize, pending: usize) -> Fault {
        let Some(warp) = self.warps.iter().find(|w| w.runnable() > 0) else {
            return self.stuck(code);
        };
        let found = match warp.polled {
            (0, ..) => String::new(),
            (line, address, value) => {
                format!(", of late {value} at {address:#x} (PTX line {line})")
            }
        };
        let behind = match pending {
            0 => String::new(),
            n => format!("; {n} blocks more cannot begin before one ends"),
        };
        let told = format!(
            "each of the {count} blocks that run waits for what none of them will do: this one finds the same again and again{found}{behind}"
        );
        let split = warp.splits.iter().find(|s| s.wait == Wait::No);
        let place = split.map_or((code.kernel, 0), |s| (s.function, s.pc));
        let lane = split.map_or(0, |s| s.mask.trailing_zeros());
        Self::fault(
            Trip { lane, kind: FaultKind::Deadlock(told) },
            warp.index,
            place,
            code,
            &self.env,
        )
    }

    /// No warp can go on: says who waits for what.
    fn stuck(&self, code: &Code<'_>) -> Fault {
        let line =
            |s: &Split| code.function(s.function).code.get(s.pc as usize).map_or(0, |i| i.line);
        let all = || self.warps.iter().flat_map(|w| w.splits.iter().map(move |s| (w, s)));
        let told: Vec<String> = all()
            .take(8)
            .map(|(w, s)| {
                let what = match s.wait {
                    Wait::Barrier { id, .. } => {
                        let there = self.env.barriers[id].arrived();
                        format!("at barrier {id}, where {there} threads have arrived")
                    }
                    _ => "for the other lanes".into(),
                };
                format!("warp {} lanes {:#010x} wait in line {} {what}", w.index, s.mask, line(s))
            })
            .collect();
        let told = told.join("; ");
        let lanes = all().find(|(_, s)| s.wait == Wait::Lanes);
        let (warp, split) = match lanes.or_else(|| all().next()) {
            Some(found) => found,
            None => return Fault::host(FaultKind::Deadlock(told)),
        };
        let kind =
            if lanes.is_some() { FaultKind::Divergence(told) } else { FaultKind::Deadlock(told) };
        let trip = Trip { lane: split.mask.trailing_zeros(), kind };
        Self::fault(trip, warp.index, (split.function, split.pc), code, &self.env)
    }
}
