//! Runs of the device's memory that nobody uses.

use std::collections::{BTreeMap, BTreeSet};

/// A run of memory, as the driver gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(super) address: u64,
    pub(super) bytes: u64,
}

/// Blocks by their length. **The lowest address goes first**: where the same blocks are free, the same requests are given the same
/// addresses, whatever the order in which they came back. So the launches of a step are those of the step before.
#[derive(Debug, Default)]
pub(crate) struct Blocks(BTreeMap<u64, BTreeSet<u64>>);

impl Blocks {
    pub(crate) fn add(&mut self, block: Block) {
        self.0.entry(block.bytes).or_default().insert(block.address);
    }

    /// One of exactly so many bytes.
    pub(crate) fn take(&mut self, bytes: u64) -> Option<Block> {
        let address = self.0.get_mut(&bytes)?.pop_first()?;
        Some(Block { address, bytes })
    }

    /// All of them.
    pub(super) fn into_blocks(self) -> impl Iterator<Item = Block> {
        let of = |(bytes, addresses): (u64, BTreeSet<u64>)| {
            addresses.into_iter().map(move |address| Block { address, bytes })
        };
        self.0.into_iter().flat_map(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_goes_first() {
        let mut blocks = Blocks::default();
        let block = |address, bytes| Block { address, bytes };
        for (address, bytes) in [(3072, 512), (1024, 1024), (512, 512), (2048, 512)] {
            blocks.add(block(address, bytes));
        }
        assert_eq!(blocks.take(512), Some(block(512, 512)));
        blocks.add(block(0, 512));
        assert_eq!(blocks.take(512), Some(block(0, 512)));
        assert_eq!((blocks.take(256), blocks.take(1024)), (None, Some(block(1024, 1024))));
        assert_eq!(blocks.take(1024), None);
        assert_eq!(blocks.into_blocks().map(|b| b.address).collect::<Vec<_>>(), [2048, 3072]);
    }
}
