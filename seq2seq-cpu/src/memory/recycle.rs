//! Blocks that wait for their next owner, a list for each thread.
//!
//! A list is short, as requests come and go. A thread that trains ([`keep_steps`]) takes and gives hundreds of blocks a step,
//! the same in the next: there as much waits as was ever in use at once beyond what stays in use between steps.

use super::block::{self, Block};
use std::cell::RefCell;

/// The most blocks of a list. A step of a large model keeps about thirty alive at once.
const BLOCKS: usize = 64;
/// The most bytes of a list: the activations of some thousand rows.
const BYTES: usize = 256 << 20;
/// The most blocks of a list of a thread that trains.
const BLOCKS_OF_STEPS: usize = 4096;

thread_local! {
    static LIST: RefCell<List> = const { RefCell::new(List::NEW) };
}

/// Blocks in the order in which they came.
struct List {
    blocks: Vec<Block>,
    bytes: usize,
    /// Bytes that were taken and not given back.
    lent: isize,
    /// The least and the most that were lent, since the thread trains.
    steps: Option<[isize; 2]>,
}

impl List {
    const NEW: Self = Self { blocks: Vec::new(), bytes: 0, lent: 0, steps: None };

    fn lend(&mut self, bytes: isize) {
        self.lent += bytes;
        if let Some([least, most]) = &mut self.steps {
            *least = self.lent.min(*least);
            *most = self.lent.max(*most);
        }
    }

    /// The most blocks and bytes that wait.
    fn bounds(&self) -> (usize, usize) {
        match self.steps {
            None => (BLOCKS, BYTES),
            Some([least, most]) => (BLOCKS_OF_STEPS, BYTES.max(most.abs_diff(least))),
        }
    }

    fn remove(&mut self, index: usize) -> Block {
        let block = self.blocks.remove(index);
        self.bytes -= block.bytes();
        block
    }
}

/// Has this thread keep what a step of training takes and gives.
pub(crate) fn keep_steps() {
    let _ = LIST.try_with(|list| {
        let mut list = list.borrow_mut();
        let lent = list.lent;
        list.steps.get_or_insert([lent, lent]);
    });
}

/// The smallest waiting block of at least `bytes`, and not more than twice as much, with what its last owner wrote. Where
/// there is none, the caller makes one.
pub(super) fn take(bytes: usize) -> Option<Block> {
    let bytes = block::round(bytes)?;
    let fits = |b: &Block| b.bytes() >= bytes && b.bytes() / 2 <= bytes;
    let take = |list: &mut List| {
        let fitting = list.blocks.iter().enumerate().filter(|(_, b)| fits(b));
        let best = fitting.min_by_key(|(_, b)| b.bytes()).map(|(index, _)| index);
        let best = best.map(|index| list.remove(index));
        list.lend(best.as_ref().map_or(bytes, Block::bytes).cast_signed());
        best
    };
    // There is no list any more while the thread ends.
    LIST.try_with(|list| take(&mut list.borrow_mut())).ok().flatten()
}

/// Keeps `block` for the next that fits; the ones that have waited longest make room for it.
pub(super) fn give(block: Block) {
    if !block.recyclable() {
        return;
    }
    let _ = LIST.try_with(|list| {
        let mut list = list.borrow_mut();
        list.lend(-block.bytes().cast_signed());
        let (blocks, bytes) = list.bounds();
        if block.bytes() > bytes / 2 {
            return;
        }
        while list.blocks.len() >= blocks || list.bytes + block.bytes() > bytes {
            drop(list.remove(0));
        }
        if list.blocks.capacity() == 0 {
            list.blocks.reserve_exact(BLOCKS);
        }
        list.bytes += block.bytes();
        list.blocks.push(block);
    });
}
