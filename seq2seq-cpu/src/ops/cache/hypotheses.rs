//! Which slots each hypothesis reads, and which one it writes.

use crate::kernels::attention::{BLOCK, MIXED};
use crate::memory::Buffer;
use seq2seq_core::{CacheSpec, Ragged, Result};
use std::ops::Range;

/// The hypotheses of a cache.
#[derive(Debug)]
pub(super) struct Hypotheses {
    /// For each the sequence that it goes back to.
    origins: Vec<usize>,
    /// For each the slot that it writes.
    own: Vec<u32>,
    /// For each the positions held, those of the present pass included.
    lengths: Vec<usize>,
    /// How the hypotheses divide into sequences.
    families: Ragged,
    /// `[hypothesis][position]`: the slot in which it lies.
    slots: Buffer<u32>,
    /// `[hypothesis][block]`: the slot of all positions of the block, or [`MIXED`].
    blocks: Buffer<u32>,
    /// Slots of a sequence.
    beams: usize,
    /// Positions of a slot.
    capacity: usize,
}

impl Hypotheses {
    /// One of length 0 for each sequence.
    pub(super) fn new(spec: &CacheSpec) -> Result<Self> {
        let most = spec.sequences.checked_mul(spec.beams);
        let size = |each: usize| {
            let all = most.and_then(|most| most.checked_mul(each));
            all.ok_or_else(|| super::too_large(spec))
        };
        let (slots, blocks) = (size(spec.capacity)?, size(spec.capacity.div_ceil(BLOCK))?);
        Ok(Self {
            origins: (0..spec.sequences).collect(),
            own: vec![0; spec.sequences],
            lengths: vec![0; spec.sequences],
            families: Ragged::single_rows(spec.sequences),
            slots: Buffer::sparse(slots)?,
            blocks: Buffer::sparse(blocks)?,
            beams: spec.beams,
            capacity: spec.capacity,
        })
    }

    /// For each hypothesis the sequence that it goes back to.
    pub(super) fn origins(&self) -> &[usize] {
        &self.origins
    }

    /// The slot that hypothesis `i` writes.
    pub(super) fn own(&self, i: usize) -> usize {
        self.own[i] as usize
    }

    /// For each hypothesis the positions held.
    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The hypotheses that go back to `sequence`.
    pub(super) fn family(&self, sequence: usize) -> Range<usize> {
        self.families.range(sequence)
    }

    /// For each position that hypothesis `i` holds its slot.
    pub(super) fn slots(&self, i: usize) -> &[u32] {
        &self.slots[i * self.capacity..][..self.lengths[i]]
    }

    /// For each block that hypothesis `i` holds its slot, or [`MIXED`].
    pub(super) fn blocks(&self, i: usize) -> &[u32] {
        &self.blocks[i * self.capacity.div_ceil(BLOCK)..][..self.lengths[i].div_ceil(BLOCK)]
    }

    /// Each hypothesis grows in its own slot. There is room.
    pub(super) fn extend(&mut self, rows: &Ragged) {
        for (i, count) in rows.lengths().enumerate() {
            let start = self.lengths[i];
            self.lengths[i] += count;
            self.own_from(i, start);
        }
    }

    /// Puts all positions of hypothesis `i` from `start` on into its own slot.
    pub(super) fn own_from(&mut self, i: usize, start: usize) {
        let (own, length) = (self.own[i], self.lengths[i]);
        if start == length {
            return;
        }
        let slots = &mut self.slots[i * self.capacity..][..length];
        slots[start..].fill(own);
        let blocks = &mut self.blocks[i * self.capacity.div_ceil(BLOCK)..];
        for block in start / BLOCK..length.div_ceil(BLOCK) {
            let before = &slots[block * BLOCK..start.max(block * BLOCK)];
            let whole = before.iter().all(|&slot| slot == own);
            blocks[block] = if whole { own } else { MIXED };
        }
    }

    /// Becomes the children of `parents` in `old`, each with its parent's length, table and slot.
    pub(super) fn inherit(&mut self, old: &Self, parents: &[usize]) {
        self.origins.clear();
        self.own.clear();
        self.lengths.clear();
        let mut children = Buffer::<usize>::zeroed(old.families.sequences());
        for (i, &parent) in parents.iter().enumerate() {
            self.origins.push(old.origins[parent]);
            self.own.push(old.own[parent]);
            self.lengths.push(old.lengths[parent]);
            let slots = old.slots(parent);
            self.slots[i * self.capacity..][..slots.len()].copy_from_slice(slots);
            let blocks = old.blocks(parent);
            let start = i * self.capacity.div_ceil(BLOCK);
            self.blocks[start..][..blocks.len()].copy_from_slice(blocks);
            children[old.origins[parent]] += 1;
        }
        self.families.set_lengths(children.iter().copied());
    }

    /// After [`inherit`](Self::inherit): gives each of the hypotheses of `sequence` a slot of its own, where possible one that
    /// nobody reads where it may come to write. Tells whether that was possible for all.
    pub(super) fn assign(&mut self, sequence: usize, parents: &[usize]) -> bool {
        let family = self.family(sequence);
        let first_child = |i: usize| !parents[family.start..i].contains(&parents[i]);
        let mut safe = true;
        for child in family.clone() {
            if first_child(child) {
                continue;
            }
            let length = self.lengths[child];
            // Later ones have a slot of their own only if they have kept their parent's.
            let owned = |slot: u32| {
                let settled = |i: &usize| *i < child || first_child(*i);
                family.clone().filter(settled).any(|i| self.own[i] == slot)
            };
            let read = |slot: u32| {
                family.clone().any(|i| self.slots(i).iter().skip(length).any(|&s| s == slot))
            };
            let free = || (0..self.beams as u32).filter(|&slot| !owned(slot));
            let slot = free().find(|&slot| !read(slot));
            safe &= slot.is_some();
            // There are as many slots as hypotheses at most, so one is free.
            self.own[child] = slot.or_else(|| free().next()).unwrap_or_default();
        }
        safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seq2seq_core::Precision;

    fn start(sequences: usize, beams: usize) -> [Hypotheses; 2] {
        let spec = CacheSpec {
            layers: 1,
            kv_heads: 1,
            head_dim: 1,
            sequences,
            beams,
            capacity: 40,
            precision: Precision::F32,
        };
        [(); 2].map(|()| Hypotheses::new(&spec).unwrap())
    }

    fn reorder([now, spare]: &mut [Hypotheses; 2], parents: &[usize]) -> bool {
        spare.inherit(now, parents);
        std::mem::swap(now, spare);
        let safe: Vec<bool> =
            (0..now.families.sequences()).map(|s| now.assign(s, parents)).collect();
        !safe.contains(&false)
    }

    fn extend(both: &mut [Hypotheses; 2], lengths: &[usize]) {
        both[0].extend(&Ragged::from_lengths(lengths.iter().copied()));
    }

    #[test]
    fn children_share_the_past_and_part_from_there() {
        let mut h = start(2, 3);
        extend(&mut h, &[2, 20]);
        assert!(reorder(&mut h, &[0, 0, 1, 1]));
        extend(&mut h, &[1; 4]);
        assert_eq!([h[0].slots(0), h[0].slots(1)], [[0, 0, 0], [0, 0, 1]]);
        assert_eq!(h[0].blocks(1), [MIXED]);
        assert_eq!(h[0].blocks(2), [0, 0]);
        assert_eq!(h[0].blocks(3), [0, MIXED]);
        // The second of the first sequence wins; its sibling's slot is free again.
        assert!(reorder(&mut h, &[1, 1, 2]));
        extend(&mut h, &[1; 3]);
        assert_eq!([h[0].slots(0), h[0].slots(1)], [[0, 0, 1, 1], [0, 0, 1, 0]]);
        assert_eq!(h[0].origins(), [0, 0, 1]);
        assert_eq!((h[0].family(0), h[0].family(1)), (0..2, 2..3));
    }

    #[test]
    fn no_two_write_one_slot() {
        let mut h = start(1, 4);
        extend(&mut h, &[3]);
        for parents in [&[0, 0, 0, 0][..], &[3, 2, 3, 2], &[1, 1, 1, 0], &[2], &[0, 0, 0, 0]] {
            assert!(reorder(&mut h, parents), "{parents:?}");
            let mut own = h[0].own.clone();
            own.sort();
            own.dedup();
            assert_eq!(own.len(), parents.len());
            extend(&mut h, &vec![1; parents.len()]);
        }
    }

    #[test]
    fn unequal_lengths_may_leave_no_safe_slot() {
        let mut h = start(1, 2);
        extend(&mut h, &[1]);
        assert!(reorder(&mut h, &[0, 0]));
        // The second grows in slot 1, the first does not grow.
        extend(&mut h, &[0, 3]);
        // A child of the first would write slot 1 from position 1 on.
        assert!(reorder(&mut h, &[0, 1]));
        assert_eq!(h[0].own, [0, 1]);
        // Both children of the longer: it keeps 1, its sibling takes 0, which nobody reads behind position 0.
        assert!(reorder(&mut h, &[1, 1]));
        assert_eq!(h[0].own, [1, 0]);
        extend(&mut h, &[0, 1]);
        let mut h = start(1, 3);
        extend(&mut h, &[1]);
        assert!(reorder(&mut h, &[0, 0]));
        extend(&mut h, &[0, 3]);
        // Hypothesis 2 reads slot 1 at 1..4; its owner goes, and a child of the short one finds only that.
        assert!(reorder(&mut h, &[0, 1, 1]));
        assert_eq!(h[0].own, [0, 1, 2]);
        assert!(!reorder(&mut h, &[0, 0, 2]));
        let mut own = h[0].own.clone();
        own.sort();
        assert_eq!(own, [0, 1, 2]);
    }
}
