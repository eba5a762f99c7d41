//! The machine: warps of 32 lanes, blocks of warps, grids of blocks.

pub(crate) mod barrier;
pub(crate) mod block;
pub(crate) mod global;
pub(crate) mod grid;
pub(crate) mod memory;
mod runner;
pub(crate) mod step;
pub(crate) mod warp;

pub(crate) use block::Env;
pub(crate) use global::Global;
pub(crate) use grid::World;
pub(crate) use step::Step;

use crate::FaultKind;

/// Lanes of a warp.
pub(crate) const WARP: usize = 32;

/// A value of each lane. Narrow values lie in the low bits; what lies above them does not count.
pub(crate) type Lanes = [u64; WARP];

/// A fault of one lane.
#[derive(Debug)]
pub(crate) struct Trip {
    pub(crate) lane: u32,
    pub(crate) kind: FaultKind,
}

/// The result of a step.
pub(crate) type Stepped<T> = Result<T, Box<Trip>>;

/// A fault of a lane.
pub(crate) fn trip(lane: usize, kind: FaultKind) -> Box<Trip> {
    Box::new(Trip { lane: lane as u32, kind })
}

/// The lanes of a mask, from the lowest.
pub(crate) fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let lane = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            lane
        })
    })
}

/// What comes after an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next instruction.
    Next,
    /// The instruction at this place.
    Jump(u32),
    /// Lanes go to different places.
    Scatter(Vec<(u32, u32)>),
    /// The same instruction again, when something has changed.
    Wait(warp::Wait),
    /// A device function: its index, and where the call's operands lie in the frame.
    Call(u32, Box<[u32]>, Box<[u32]>),
    /// Back to the caller, or the end of the thread.
    Return,
    /// The end of the thread.
    Exit,
}
