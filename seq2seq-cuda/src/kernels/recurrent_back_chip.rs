//! All positions of a direction of a recurrent layer on the way back, whose weights fit on the chip.

use super::operands::Operands;
use super::recurrent_back::{DirectionBack, OutBack};
use super::recurrent_chip::{AT_ONCE, COUNTERS, Division, MOST_SHARED};
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};
use crate::{Cuda, Linear};
use seq2seq_core::backend::check::RecurrentShape;
use seq2seq_core::{Cell, Format};

static ARTIFACT: Artifact = artifact!("recurrent_back_chip");
static LSTM: Kernel = Kernel::new(&ARTIFACT, "recur_lstm_back_bf16").with_shared(MOST_SHARED);
static GRU: Kernel = Kernel::new(&ARTIFACT, "recur_gru_back_bf16").with_shared(MOST_SHARED);

/// Units that a block owns.
const UNITS: usize = 16;
const THREADS: usize = 512;

/// A layer whose weights fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChipBack(Division);

/// Columns of du of a sequence, with their padding.
fn depth(shape: RecurrentShape) -> usize {
    (shape.cell.gates() * shape.width).next_multiple_of(Operands::Bf16.slab())
}

/// Shared memory of a block: the weights of its units, and partial sums of 16 chunks.
fn shared(shape: RecurrentShape) -> usize {
    UNITS * depth(shape) * 2 + 16 * UNITS * AT_ONCE * 4
}

impl ChipBack {
    /// For a layer, by its shape and the device alone: where all of its weights fit, in bf16.
    pub(crate) fn of(cuda: &Cuda, shape: RecurrentShape, format: Format) -> Result<Option<Self>> {
        if format != Format::Bf16 {
            return Ok(None);
        }
        let kernel = if shape.cell == Cell::Lstm { &LSTM } else { &GRU };
        let (blocks, shared) = (shape.width.div_ceil(UNITS), shared(shape));
        Ok(Division::of(cuda, kernel, (blocks, THREADS), shared)?.map(Self))
    }

    /// All positions of the first `sequences` sequences, which are not empty and the longest of which has `positions`.
    /// `weights` go from du to h.
    pub(crate) fn run(
        &self,
        cuda: &Cuda,
        direction: &mut DirectionBack<'_>,
        weights: &Linear,
        (positions, sequences): (usize, usize),
        out: OutBack<'_>,
    ) -> Result<()> {
        let RecurrentShape { cell, width, .. } = direction.shape;
        let (division, depth) = (self.0, depth(direction.shape));
        assert!(sequences <= direction.order.places.len() && weights.format == Format::Bf16);
        assert_eq!((weights.shape.input, weights.shape.product), (cell.gates() * width, width));
        assert_eq!((weights.gated, weights.scale), (false, 1.0));
        if positions == 0 || sequences == 0 {
            return Ok(());
        }
        let packed = Operands::on(cuda, Format::Bf16);
        let groups = division.groups(sequences);
        let zeros = |bytes| Buffer::<u8>::filled(cuda.pool(), bytes, 0);
        let bytes = sequences.next_multiple_of(8) * depth * 2;
        let mut du = [zeros(bytes)?, zeros(bytes)?];
        let mut counters = zeros(groups * COUNTERS * 4)?;
        let launch = Launch::new(cuda, division.kernel)
            .grid(division.blocks, groups, 1)
            .block(THREADS)
            .shared(division.shared)
            .cooperative(true);
        let [even, odd] = &mut du;
        let launch = direction
            .sequences(launch, out)
            .arg(&weights.weights)
            .size(width.next_multiple_of(packed.panel()))
            .size((cell.gates() * width).next_multiple_of(packed.slab()))
            .arg(i32::from(packed == Operands::Bf16Swizzled))
            .out(even)
            .out(odd)
            .out(&mut counters)
            .size(sequences)
            .size(positions)
            .size(depth);
        // SAFETY: the sequences are those of the order, the first of which has all positions, so rows lie inside. The weights are
        // packed in the layout that is named, without biases; both operands have whole tiles of `depth` columns.
        unsafe { launch.run() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_sums_of_a_block() {
        let of = |cell, width| shared(RecurrentShape { cell, width, directions: 1 }) >> 10;
        assert_eq!([of(Cell::Lstm, 1024), of(Cell::Gru, 1024)], [128 + 32, 96 + 32]);
    }
}
