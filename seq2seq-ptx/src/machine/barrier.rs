//! The sixteen barriers of a block.

use crate::shadow::Clocks;
use crate::shadow::clock::Arrived;

/// One barrier.
#[derive(Debug, Default, Clone)]
pub(crate) struct Barrier {
    /// Grows each time it completes.
    pub(crate) generation: u64,
    /// Threads it waits for; none means all that have not ended.
    expected: Option<u32>,
    /// Threads counted so far; a warp counts whole.
    counted: u32,
    /// Threads that have arrived.
    arrived: Vec<Arrived>,
    /// Those of them that wait.
    waiting: Vec<u32>,
    /// Lanes whose predicate holds, for reductions.
    holds: u32,
    /// That number when it last completed.
    pub(crate) result: u32,
}

/// What a warp brings to a barrier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) first_thread: u32,
    pub(crate) mask: u32,
    pub(crate) counted: u32,
    pub(crate) expected: Option<u32>,
    pub(crate) waits: bool,
    pub(crate) holds: u32,
}

impl Barrier {
    /// Notes an arrival. An error if it expects other threads than those before it.
    pub(crate) fn arrive(&mut self, a: Arrival, clocks: &mut Clocks) -> Result<(), String> {
        if !self.arrived.is_empty() && self.expected != a.expected {
            let told = |e: Option<u32>| e.map_or("all".into(), |n| n.to_string());
            let (ours, theirs) = (told(a.expected), told(self.expected));
            return Err(format!("a barrier of {ours} threads, where others expect {theirs}"));
        }
        self.expected = a.expected;
        self.counted += a.counted;
        self.holds += a.holds;
        for lane in super::lanes(a.mask) {
            let thread = a.first_thread + lane as u32;
            self.arrived.push(clocks.arrive(thread));
            if a.waits {
                self.waiting.push(thread);
            }
        }
        Ok(())
    }

    /// Completes the barrier if all are there.
    pub(crate) fn settle(&mut self, live: u32, clocks: &mut Clocks) -> bool {
        let full = match self.expected {
            None => self.arrived.len() as u32 >= live,
            Some(expected) => self.counted >= expected,
        };
        if self.arrived.is_empty() || !full {
            return false;
        }
        clocks.barrier(&self.arrived, &self.waiting);
        *self = Self { generation: self.generation + 1, result: self.holds, ..Self::default() };
        true
    }

    /// How many have arrived.
    pub(crate) fn arrived(&self) -> usize {
        self.arrived.len()
    }
}
