//! A warp: lanes that run together where they can.
//!
//! Since Volta every lane has its own program counter. The lanes of a warp that stand at the same place in the same
//! function form a *split*; a divergent branch makes two of one. The split whose instruction comes first in the text
//! runs, in the deepest function, so that the others are caught up with, and splits that meet become one again. Any
//! order is one that the ISA allows, so this choice decides speed and not results: what must run together says so
//! (`.sync` with a mask of lanes, or `.aligned`), and waits until all of its lanes are there.

use super::{Lanes, WARP};
use crate::isa::async_copy::Groups;
use crate::isa::wgmma::Products;
use crate::shadow::bits::Bits;

/// Why a split does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It runs.
    No,
    /// For the other lanes of an instruction that lanes execute together.
    Lanes,
    /// At a barrier of the block, in this generation.
    Barrier { id: usize, generation: u64 },
}

/// Where the registers, predicates and local variables of a running function begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bases {
    pub(crate) registers: usize,
    pub(crate) predicates: usize,
    pub(crate) frame: usize,
}

/// A function that waits for one that it called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) function: u32,
    /// Where it goes on.
    pub(crate) pc: u32,
    pub(crate) bases: Bases,
    /// Where results go in its frame.
    pub(crate) results: Box<[u32]>,
}

/// Lanes at the same place.
#[derive(Debug, Clone)]
pub(crate) struct Split {
    pub(crate) mask: u32,
    pub(crate) function: u32,
    pub(crate) pc: u32,
    pub(crate) bases: Bases,
    pub(crate) stack: Vec<Frame>,
    pub(crate) wait: Wait,
    /// The result of a barrier that was passed, for the instruction that waited.
    pub(crate) passed: Option<u32>,
}

impl Split {
    /// Whether two splits stand at the same place.
    fn meets(&self, other: &Self) -> bool {
        let free = |s: &Self| s.passed.is_none() && !matches!(s.wait, Wait::Barrier { .. });
        self.pc == other.pc
            && self.function == other.function
            && free(self)
            && free(other)
            && self.stack == other.stack
    }
}

/// A warp.
#[derive(Debug)]
pub(crate) struct Warp {
    pub(crate) index: usize,
    /// Lanes that there are: all, but in the last warp of an odd block.
    pub(crate) lanes: u32,
    pub(crate) exited: u32,
    /// Lanes that have waited for the kernels before (`griddepcontrol.wait`).
    pub(crate) waited: u32,
    pub(crate) registers: Vec<Lanes>,
    pub(crate) predicates: Vec<u32>,
    pub(crate) local: Local,
    pub(crate) splits: Vec<Split>,
    pub(crate) copies: Vec<Groups>,
    pub(crate) products: Products,
    /// Steps since the choice among splits was last turned round.
    patience: u32,
    /// The last strong read of a loop that may be waiting: line, address and value.
    pub(crate) polled: (u32, u64, u64),
}

impl Warp {
    pub(crate) fn new(index: usize, lanes: u32, function: u32) -> Self {
        let split = Split {
            mask: lanes,
            function,
            pc: 0,
            bases: Bases::default(),
            stack: Vec::new(),
            wait: Wait::No,
            passed: None,
        };
        Self {
            index,
            lanes,
            exited: 0,
            waited: 0,
            registers: Vec::new(),
            predicates: Vec::new(),
            local: Local::default(),
            splits: vec![split],
            copies: vec![Groups::default(); WARP],
            products: Products::default(),
            patience: 0,
            polled: (0, 0, 0),
        }
    }

    /// Lanes that have not ended.
    pub(crate) fn live(&self) -> u32 {
        self.lanes & !self.exited
    }

    /// Splits that can run.
    pub(crate) fn runnable(&self) -> usize {
        self.splits.iter().filter(|s| s.wait == Wait::No).count()
    }

    /// Makes room for a function's registers and variables.
    pub(crate) fn reserve(&mut self, bases: Bases, registers: u32, predicates: u32, frame: u32) {
        let grow = |length: usize, need: usize| length.max(need);
        let need = grow(self.registers.len(), bases.registers + registers as usize);
        self.registers.resize(need, [0xdead_beef_dead_beef; WARP]);
        let need = grow(self.predicates.len(), bases.predicates + predicates as usize);
        self.predicates.resize(need, 0);
        self.local.reserve(bases.frame + frame as usize);
    }

    /// The split to run next.
    pub(crate) fn pick(&mut self) -> Option<usize> {
        let runs = |s: &Split| s.wait == Wait::No;
        if self.splits.len() == 1 {
            return runs(&self.splits[0]).then_some(0);
        }
        self.patience += 1;
        if self.patience > 4096 {
            // A lane may wait in a loop for one further down: let the others run now and then.
            self.patience = 0;
            self.splits.rotate_left(1);
            return self.splits.iter().position(runs);
        }
        if self.patience > 3072 {
            return self.splits.iter().position(runs);
        }
        let first = |(_, s): &(usize, &Split)| (std::cmp::Reverse(s.stack.len()), s.pc);
        self.splits.iter().enumerate().filter(|(_, s)| runs(s)).min_by_key(first).map(|(i, _)| i)
    }

    /// Joins split `at` with another that stands at the same place. True if there was one.
    pub(crate) fn merge(&mut self, at: usize) -> bool {
        let mine = &self.splits[at];
        let meets = |(i, s): &(usize, &Split)| *i != at && s.meets(mine);
        let Some((other, _)) = self.splits.iter().enumerate().find(meets) else { return false };
        let mask = self.splits[at].mask;
        self.splits[other].mask |= mask;
        self.splits[other].wait = Wait::No;
        self.splits.remove(at);
        true
    }

    /// Takes lanes out of a split and puts them elsewhere.
    pub(crate) fn part(&mut self, at: usize, mask: u32, pc: u32) {
        self.splits[at].mask &= !mask;
        let moved = Split { mask, pc, wait: Wait::No, ..self.splits[at].clone() };
        self.splits.push(moved);
        let new = self.splits.len() - 1;
        self.merge(new);
    }

    /// Ends the lanes of a split. Those that wait for lanes look again.
    pub(crate) fn exit(&mut self, at: usize) {
        let split = self.splits.remove(at);
        self.exited |= split.mask;
        for s in self.splits.iter_mut().filter(|s| s.wait == Wait::Lanes) {
            s.wait = Wait::No;
        }
    }
}

/// The local memory of a warp's lanes.
#[derive(Debug, Default)]
pub(crate) struct Local {
    bytes: Vec<Vec<u8>>,
    written: Vec<Bits>,
    size: usize,
}

impl Local {
    fn reserve(&mut self, size: usize) {
        if size > self.size {
            self.size = size.next_multiple_of(64);
            self.bytes.resize(WARP, Vec::new());
            self.bytes.iter_mut().for_each(|b| b.resize(self.size, 0xcd));
            self.written.resize(WARP, Bits::default());
            self.written.iter_mut().for_each(|w| w.grow(self.size));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.size
    }

    pub(crate) fn load(&self, lane: usize, at: usize, length: usize) -> Result<u128, usize> {
        if let Some(byte) = self.written[lane].first_clear(at, length) {
            return Err(byte);
        }
        let mut bytes = [0; 16];
        bytes[..length].copy_from_slice(&self.bytes[lane][at..at + length]);
        Ok(u128::from_le_bytes(bytes))
    }

    pub(crate) fn store(&mut self, lane: usize, at: usize, length: usize, value: u128) {
        self.bytes[lane][at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
        self.written[lane].set(at, length);
    }

    /// Copies a parameter from one frame to another.
    pub(crate) fn copy(&mut self, lane: usize, from: usize, to: usize, length: usize) {
        for i in 0..length {
            if self.written[lane].get(from + i) {
                let byte = self.bytes[lane][from + i];
                self.store(lane, to + i, 1, byte.into());
            } else {
                self.written[lane].clear(to + i, 1);
            }
        }
    }

    /// Makes a frame new again.
    pub(crate) fn forget(&mut self, lane: usize, from: usize, length: usize) {
        if length > 0 {
            self.written[lane].clear(from, length);
        }
    }
}
