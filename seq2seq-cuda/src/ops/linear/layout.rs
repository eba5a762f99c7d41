//! Where a weight lies in the memory of the device. `words.cuh`, `linear_mma.cuh` and `linear_wgmma.cuh` say why.

use crate::kernels::operands::Operands;

/// Sizes of the layout of a layer, and the place of each weight in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    operands: Operands,
    /// Channels, padded to whole panels.
    pub(super) channels: usize,
    /// Columns, padded to whole slabs.
    pub(super) depth: usize,
}

/// Of a tile of 16 channels and a slab of int4: two groups of codes, then two of scales.
const INT4_SLAB: usize = 576;
const INT4_SCALES: usize = 512;

impl Layout {
    pub(super) fn new(operands: Operands, channels: usize, input: usize) -> Self {
        let channels = channels.next_multiple_of(operands.panel());
        Self { operands, channels, depth: input.next_multiple_of(operands.slab()) }
    }

    /// Bytes of all weights.
    pub(super) fn bytes(&self) -> usize {
        let slabs = self.depth / self.operands.slab();
        match self.operands {
            Operands::F32 => self.channels * self.depth * 4,
            Operands::F16 | Operands::Bf16 | Operands::Bf16Swizzled => {
                self.channels * self.depth * 2
            }
            Operands::Int8 | Operands::Int8Swizzled => self.channels * self.depth,
            Operands::Int4 => self.channels / 16 * slabs * INT4_SLAB,
        }
    }

    /// The first byte of weight `k` of channel `c`: all but int4.
    pub(super) fn at(&self, c: usize, k: usize) -> usize {
        match self.operands {
            Operands::F32 => self.word(c, k, 1),
            Operands::F16 => self.word(c, k, 2) + k % 2 * 2,
            // Two columns a register, a step of 16.
            Operands::Bf16 => self.lane(c, k, 2) + k % 2 * 2,
            Operands::Bf16Swizzled => self.swizzled(c, k * 2),
            Operands::Int8Swizzled => self.swizzled(c, k),
            // Four, of 32.
            _ => self.lane(c, k, 4) + k % 4,
        }
    }

    /// The first byte of the word that holds column `k` of channel `c`, `each` to a word: 32 channels side by side.
    fn word(&self, c: usize, k: usize, each: usize) -> usize {
        ((c / 32 * (self.depth / each) + k / each) * 32 + c % 32) * 4
    }

    /// Where byte `b` of a channel lies for wgmma, which reads it from shared memory: 128 bytes of eight channels in 1024, the
    /// pieces of 16 bytes of a channel exchanged by its number.
    fn swizzled(&self, c: usize, b: usize) -> usize {
        let (slab, piece, row) = (b / 128, b % 128 / 16, c % 8);
        (slab * (self.channels / 8) + c / 8) * 1024 + row * 128 + (piece ^ row) * 16 + b % 16
    }

    /// The first byte of the register that holds column `k` of channel `c`, `each` to a register.
    fn lane(&self, c: usize, k: usize, each: usize) -> usize {
        let (tile, step, lane, register) = self.place(c, k, each);
        let steps = self.depth / (8 * each);
        (tile * steps + step) * 512 + lane * 16 + register * 4
    }

    /// Tile of channels, step of the matrix unit, lane and register of its operand.
    fn place(&self, c: usize, k: usize, each: usize) -> (usize, usize, usize, usize) {
        // Neighbouring channels are eight rows of the operand apart, so that a lane holds both of a pair in the result.
        let (upper, row) = (c % 2, c % 16 / 2);
        let (step, within) = (k / (8 * each), k % (8 * each));
        let register = upper + 2 * (within / (4 * each));
        (c / 16, step, row * 4 + within % (4 * each) / each, register)
    }

    /// The byte of the code of weight `k` of int4, and whether it is in the upper four bits.
    pub(super) fn code(&self, c: usize, k: usize) -> (usize, bool) {
        let (tile, group, lane, register) = self.place(c, k, 4);
        let index = register * 4 + k % 4;
        let slab = tile * (self.depth / 64) + group / 2;
        (slab * INT4_SLAB + group % 2 * 256 + lane * 8 + index / 2, index % 2 == 1)
    }

    /// The first byte of the bf16 scale of a group of int4.
    pub(super) fn group_scale(&self, c: usize, group: usize) -> usize {
        let slab = c / 16 * (self.depth / 64) + group / 2;
        slab * INT4_SLAB + INT4_SCALES + group % 2 * 32 + c % 16 * 2
    }

    /// Zeros: no weight anywhere.
    pub(super) fn empty(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes()];
        if self.operands == Operands::Int4 {
            let zero = seq2seq_core::quant::group::ZERO;
            for slab in bytes.chunks_mut(INT4_SLAB) {
                slab[..INT4_SCALES].fill(zero << 4 | zero);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        use Operands::{Bf16, Bf16Swizzled, F16, F32, Int8, Int8Swizzled};
        let two_bytes = [F16, Bf16, Bf16Swizzled].map(|operands| (operands, 2));
        let others = [(F32, 4), (Int8, 1), (Int8Swizzled, 1)];
        for (operands, size) in two_bytes.into_iter().chain(others) {
            let layout = Layout::new(operands, 33, 65);
            let places = (0..layout.channels)
                .flat_map(|c| (0..layout.depth).map(move |k| (c, k)))
                .map(|(c, k)| layout.at(c, k));
            let places: HashSet<usize> = places.inspect(|at| assert_eq!(at % size, 0)).collect();
            assert_eq!(places.len() * size, layout.bytes(), "{operands:?}");
            assert!(places.into_iter().all(|at| at < layout.bytes()), "{operands:?}");
        }
    }

    #[test]
    fn codes_and_scales_fill_the_slabs_of_int4() {
        let layout = Layout::new(Operands::Int4, 17, 65);
        let mut halves = HashSet::new();
        for c in 0..layout.channels {
            for k in 0..layout.depth {
                let (byte, upper) = layout.code(c, k);
                assert!(halves.insert(byte * 2 + usize::from(upper)));
            }
            for group in 0..layout.depth / 32 {
                let at = layout.group_scale(c, group);
                assert!((0..4).all(|half| halves.insert(at * 2 + half)));
            }
        }
        assert_eq!(halves.len(), layout.bytes() * 2);
        assert!(halves.into_iter().all(|half| half < layout.bytes() * 2));
    }

    /// Words of 32 channels, a column in each or two.
    #[test]
    fn a_word_holds_columns_that_follow_each_other() {
        let of = |operands| {
            let layout = Layout::new(operands, 64, 64);
            [(0, 1), (3, 0), (31, 2), (31, 3), (32, 0)].map(|(c, k)| layout.at(c, k))
        };
        assert_eq!(of(Operands::F32), [128, 12, 256 + 124, 384 + 124, 64 * 128]);
        assert_eq!(of(Operands::F16), [2, 12, 128 + 124, 128 + 126, 32 * 128]);
    }

    /// The operand of mma.m16n8k16 in the PTX manual, for one lane.
    #[test]
    fn a_lane_holds_what_the_manual_says() {
        let layout = Layout::new(Operands::Bf16, 16, 32);
        // Lane 5: g = 1, t = 1; rows 1 and 9 are channels 2 and 3.
        let lane = 5 * 16;
        assert_eq!(
            [(2, 2), (2, 3), (3, 2), (3, 3)].map(|(c, k)| layout.at(c, k) - lane),
            [0, 2, 4, 6]
        );
        assert_eq!([(2, 10), (3, 11), (2, 18)].map(|(c, k)| layout.at(c, k) - lane), [8, 14, 512]);
        let layout = Layout::new(Operands::Int8, 16, 64);
        assert_eq!(
            [(2, 4), (3, 7), (2, 20), (3, 36)].map(|(c, k)| layout.at(c, k) - lane),
            [0, 7, 8, 516]
        );
    }
}
