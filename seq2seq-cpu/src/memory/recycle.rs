//! Blocks that wait for their next owner, a list for each thread.

use super::block::{self, Block};
use std::cell::RefCell;

/// The most blocks of a list. A step of a large model keeps about thirty alive at once.
const BLOCKS: usize = 64;
/// The most bytes of a list: the activations of some thousand rows.
const BYTES: usize = 256 << 20;

thread_local! {
    static LIST: RefCell<List> = const { RefCell::new(List { blocks: Vec::new(), bytes: 0 }) };
}

/// Blocks in the order in which they came.
struct List {
    blocks: Vec<Block>,
    bytes: usize,
}

impl List {
    fn remove(&mut self, index: usize) -> Block {
        let block = self.blocks.remove(index);
        self.bytes -= block.bytes();
        block
    }
}

/// The smallest waiting block of at least `bytes`, and not more than twice as much.
pub(super) fn take(bytes: usize) -> Option<Block> {
    let bytes = block::round(bytes)?;
    let fits = |b: &Block| b.bytes() >= bytes && b.bytes() / 2 <= bytes;
    let take = |list: &mut List| {
        let fitting = list.blocks.iter().enumerate().filter(|(_, b)| fits(b));
        let (best, _) = fitting.min_by_key(|(_, b)| b.bytes())?;
        Some(list.remove(best))
    };
    // There is no list any more while the thread ends.
    LIST.try_with(|list| take(&mut list.borrow_mut())).ok().flatten()
}

/// Keeps `block` for the next that fits; the ones that have waited longest make room for it.
pub(super) fn give(mut block: Block) {
    if !block.recyclable() || block.bytes() > BYTES / 2 {
        return;
    }
    block.mark_used();
    let _ = LIST.try_with(|list| {
        let mut list = list.borrow_mut();
        while list.blocks.len() >= BLOCKS || list.bytes + block.bytes() > BYTES {
            drop(list.remove(0));
        }
        if list.blocks.capacity() == 0 {
            list.blocks.reserve_exact(BLOCKS);
        }
        list.bytes += block.bytes();
        list.blocks.push(block);
    });
}
