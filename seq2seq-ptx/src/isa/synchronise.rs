//! Barriers and fences.

use super::Together;
use crate::FaultKind;
use crate::machine::barrier::Arrival;
use crate::machine::warp::Wait;
use crate::machine::{Flow, Step, Stepped, WARP, lanes, trip};
use crate::parse::{Line, Operand, Read};
use crate::program::{Predicate, Source, Target};
use crate::shadow::release::fence;

/// What a barrier computes of its threads' predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    Count(Target),
    And(u32),
    Or(u32),
}

/// Barriers and fences.
#[derive(Debug, Clone)]
pub(crate) enum Synchronise {
    Barrier {
        aligned: bool,
        waits: bool,
        id: Source,
        threads: Option<Source>,
        reduction: Option<(Reduction, Predicate)>,
    },
    Warp {
        mask: Source,
    },
    Fence {
        device: bool,
    },
    /// Orders ordinary accesses before those of asynchronous units.
    ProxyFence,
    /// Waits for the kernels before.
    Grids,
    /// Numbers of registers, which are no matter here; that the next kernel may begin, which a chain takes for granted.
    Nothing,
}

impl Synchronise {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        match line.name {
            "membar" | "fence" => Self::fence(line),
            "setmaxnreg" => {
                line.any(&["inc", "dec"]).ok_or_else(|| line.unknown())?;
                if !line.flag("sync") || !line.flag("aligned") {
                    return Err(line.unknown());
                }
                line.one_type()?;
                line.finish(1)?;
                Ok(Self::Nothing)
            }
            "griddepcontrol" => {
                let form = line.any(&["launch_dependents", "wait"]);
                let form = form.ok_or_else(|| line.unknown())?;
                line.finish(0)?;
                Ok(if form == "wait" { Self::Grids } else { Self::Nothing })
            }
            _ => Self::barrier(line),
        }
    }

    fn fence(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        if line.flag("proxy") {
            if !line.flag("async") {
                let kind = line.any(&["async::shared::cta", "async.shared::cta"]);
                kind.ok_or_else(|| line.unknown())?;
            }
            line.any(&["shared::cta", "global", "shared::cluster"]);
            line.finish(0)?;
            return Ok(Self::ProxyFence);
        }
        line.any(&["sc", "acq_rel", "acquire", "release"]);
        if line.flag("mbarrier_init") {
            line.any(&["cluster"]);
            line.finish(0)?;
            return Ok(Self::Fence { device: false });
        }
        let scope = line.any(&["cta", "gl", "sys", "gpu", "cluster"]);
        line.finish(0)?;
        let scope = scope.ok_or_else(|| line.unknown())?;
        Ok(Self::Fence { device: !matches!(scope, "cta" | "cluster") })
    }

    fn barrier(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        if line.flag("warp") {
            line.flag("sync");
            line.finish(1)?;
            return Ok(Self::Warp { mask: line.source(0)? });
        }
        if line.opcode.contains("cluster") {
            return Err(line.unknown());
        }
        line.flag("cta");
        let aligned = line.flag("aligned") || line.name == "bar";
        let Some(action) = line.any(&["sync", "arrive", "red"]) else { return Err(line.unknown()) };
        if action == "red" {
            return Self::reduction(line, aligned);
        }
        let count = line.operands.len();
        if count == 0 || count > 2 {
            return Err(line.unknown());
        }
        line.finish(count)?;
        let threads = if count == 2 { Some(line.source(1)?) } else { None };
        let (waits, id) = (action == "sync", line.source(0)?);
        Ok(Self::Barrier { aligned, waits, id, threads, reduction: None })
    }

    fn reduction(line: &mut Line<'_, '_, '_>, aligned: bool) -> Read<Self> {
        let operation = line.any(&["popc", "and", "or"]).ok_or_else(|| line.unknown())?;
        line.types();
        let count = line.operands.len();
        if count != 3 && count != 4 {
            return Err(line.unknown());
        }
        line.finish(count)?;
        let reduction = match operation {
            "popc" => Reduction::Count(line.target(0)?),
            "and" => Reduction::And(line.predicate_target(0)?),
            _ => Reduction::Or(line.predicate_target(0)?),
        };
        let threads = if count == 4 { Some(line.source(2)?) } else { None };
        let Some(Operand::Predicate { index, negated }) = line.operands.last().cloned() else {
            return Err(line.unknown());
        };
        let reduction = Some((reduction, Predicate { index, negated }));
        Ok(Self::Barrier { aligned, waits: true, id: line.source(1)?, threads, reduction })
    }

    pub(crate) fn together(&self) -> Together {
        match self {
            Self::Barrier { aligned: true, .. } => Together::Warp,
            Self::Warp { mask } => Together::Named(*mask),
            _ => Together::No,
        }
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Stepped<Flow> {
        match *self {
            Self::Barrier { aligned, waits, id, threads, reduction } => {
                if let Some(holds) = step.passed.take() {
                    finish(step, reduction, holds);
                    return Ok(Flow::Next);
                }
                arrive(step, (aligned, waits), id, threads, reduction)
            }
            Self::Warp { mask } => {
                let masks = step.get(mask);
                let mut left = step.mask;
                while left != 0 {
                    let group = masks[left.trailing_zeros() as usize] as u32 & step.mask;
                    let threads: Vec<u32> = lanes(group).map(|l| step.thread(l)).collect();
                    let clocks = &mut step.env.clocks;
                    let arrived: Vec<_> = threads.iter().map(|t| clocks.arrive(*t)).collect();
                    clocks.barrier(&arrived, &threads);
                    left &= !group;
                }
                Ok(Flow::Next)
            }
            Self::Fence { device } => {
                for lane in lanes(step.mask) {
                    let thread = step.thread(lane) as usize;
                    fence(&mut step.env.clocks, thread, device);
                }
                Ok(Flow::Next)
            }
            Self::ProxyFence => {
                let env = &mut *step.env;
                for lane in lanes(step.mask) {
                    let thread = (step.warp.index * WARP + lane) as u32;
                    let clock = &env.clocks.threads[thread as usize];
                    env.proxy.fence(env.clocks.block, thread, clock);
                }
                Ok(Flow::Next)
            }
            Self::Grids => {
                step.warp.waited |= step.mask;
                Ok(Flow::Next)
            }
            Self::Nothing => Ok(Flow::Next),
        }
    }
}

/// Brings lanes to a barrier.
fn arrive(
    step: &mut Step<'_>,
    (aligned, waits): (bool, bool),
    id: Source,
    threads: Option<Source>,
    reduction: Option<(Reduction, Predicate)>,
) -> Stepped<Flow> {
    let lane = step.mask.trailing_zeros() as usize;
    let invalid = |what: String| trip(lane, FaultKind::Invalid(what));
    let id = step.get(id)[lane] as usize;
    let expected = threads.map(|t| step.get(t)[lane] as u32);
    if id >= step.env.barriers.len() {
        return Err(invalid(format!("barrier {id}; there are 16")));
    }
    if let Some(n) = expected.filter(|n| *n == 0 || !n.is_multiple_of(WARP as u32)) {
        return Err(invalid(format!("a barrier of {n} threads, which must be a multiple of 32")));
    }
    let holds = reduction.map_or(0, |(_, p)| (step.holds(p) & step.mask).count_ones());
    let arrival = Arrival {
        first_thread: step.thread(0),
        mask: step.mask,
        counted: if aligned { WARP as u32 } else { step.mask.count_ones() },
        expected,
        waits,
        holds,
    };
    let barrier = &mut step.env.barriers[id];
    let generation = barrier.generation;
    barrier.arrive(arrival, &mut step.env.clocks).map_err(invalid)?;
    if barrier.settle(step.env.live, &mut step.env.clocks) && waits {
        // The last to arrive goes on at once; the others are woken after this warp's turn.
        let result = step.env.barriers[id].result;
        finish(step, reduction, result);
        return Ok(Flow::Next);
    }
    Ok(if waits { Flow::Wait(Wait::Barrier { id, generation }) } else { Flow::Next })
}

/// Writes what a barrier computed.
fn finish(step: &mut Step<'_>, reduction: Option<(Reduction, Predicate)>, result: u32) {
    let Some((reduction, _)) = reduction else { return };
    let threads = step.world.shape.block.iter().product::<u32>();
    match reduction {
        Reduction::Count(to) => step.set(to, &[result.into(); WARP]),
        Reduction::Or(to) => step.set_predicate(to, if result > 0 { u32::MAX } else { 0 }),
        Reduction::And(to) => {
            step.set_predicate(to, if result == threads { u32::MAX } else { 0 });
        }
    }
}
