//! Barriers in shared memory.

use crate::machine::{Flow, Step, Stepped};
use crate::parse::{Line, Read};

/// Barriers in shared memory.
#[derive(Debug, Clone)]
pub(crate) enum MBarrier {}

/// The barriers of a block.
#[derive(Debug, Default)]
pub(crate) struct MBarriers;

impl MBarrier {
    pub(crate) fn parse(line: &mut Line<'_, '_, '_>) -> Read<Self> {
        Err(line.unknown())
    }

    pub(crate) fn run(&self, _step: &mut Step<'_>) -> Stepped<Flow> {
        match *self {}
    }
}
