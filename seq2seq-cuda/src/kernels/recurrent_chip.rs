//! All positions of a direction of a recurrent layer whose weights fit on the chip.

use super::operands::Operands;
use super::recurrent::{Direction, Out};
use super::rows::{Operand, View};
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};
use crate::{Cuda, Linear};
use seq2seq_core::backend::check::RecurrentShape;
use seq2seq_core::{Cell, Format};

static ARTIFACT: Artifact = artifact!("recurrent_chip");

/// Shared memory of a block of an H100 or H200, the largest there is: what a layer needs is its shape's.
const MOST_SHARED: u32 = 227 << 10;

macro_rules! kernel {
    ($name:literal) => {{
        static KERNEL: Kernel = Kernel::new(&ARTIFACT, $name).with_shared(MOST_SHARED);
        &KERNEL
    }};
}

/// Units that a block owns, its threads and warps.
const UNITS: usize = 8;
const THREADS: usize = 256;
const WARPS: usize = THREADS / 32;

/// Words of the barrier's counters: two lines of memory.
const COUNTERS: usize = 64;

/// How a layer runs whose weights fit.
#[derive(Clone, Copy)]
pub(crate) struct Chip {
    kernel: &'static Kernel,
    format: Format,
    /// Bytes of a block.
    shared: usize,
}

/// Shared memory of a block: the weights of its units, and partial sums of each warp.
fn shared(shape: RecurrentShape, format: Format) -> usize {
    let depth = shape.width.next_multiple_of(Operands::Bf16.slab());
    let (element, sums) = match format {
        Format::F32 => (4, 32 * (4 * UNITS + 8) * 4),
        _ => (2, 2 * 4 * 4 * 32 * 4),
    };
    shape.cell.gates() * UNITS * depth * element + WARPS * sums
}

impl Chip {
    /// For a layer, by its shape and the device alone: where all of its weights fit, in f32 or bf16. It has the same bits
    /// however many sequences there are.
    pub(crate) fn of(cuda: &Cuda, shape: RecurrentShape, format: Format) -> Result<Option<Self>> {
        let kernel = match (format, shape.cell) {
            (Format::F32, Cell::Lstm) => kernel!("recur_lstm_f32"),
            (Format::F32, Cell::Gru) => kernel!("recur_gru_f32"),
            (Format::Bf16, Cell::Lstm) => kernel!("recur_lstm_bf16"),
            (Format::Bf16, Cell::Gru) => kernel!("recur_gru_bf16"),
            _ => return Ok(None),
        };
        let (driver, shared) = (cuda.driver(), shared(shape, format));
        if shared > driver.shared_memory().min(MOST_SHARED) as usize {
            return Ok(None);
        }
        let function = cuda.function(kernel)?;
        let resident = driver.resident_blocks(function, THREADS as u32, shared as u32)?;
        let fits = shape.width.div_ceil(UNITS) <= resident as usize;
        Ok(fits.then_some(Self { kernel, format, shared }))
    }

    /// The first `positions` positions, those of the longest sequence, of the first `sequences` sequences, which are not empty.
    pub(crate) fn run(
        &self,
        cuda: &Cuda,
        direction: &Direction<'_>,
        weights: &Linear,
        (positions, sequences): (usize, usize),
        out: Out<'_>,
    ) -> Result<()> {
        let RecurrentShape { cell, width, .. } = direction.shape;
        assert!(sequences <= direction.order.places.len() && weights.format == self.format);
        assert_eq!((weights.shape.input, weights.shape.product), (width, cell.gates() * width));
        assert_eq!((weights.gated, weights.scale), (false, 1.0));
        if positions == 0 || sequences == 0 {
            return Ok(());
        }
        // As mma.sync multiplies it, whatever linear layers take; the weights are read as they lie.
        let operands = if self.format == Format::F32 { Operands::F32 } else { Operands::Bf16 };
        let packed = Operands::on(cuda, self.format);
        let depth = width.next_multiple_of(operands.slab());
        let mut h =
            Operand::new(cuda, View::rows(&direction.h, sequences, width), operands)?.values;
        let together = positions > 1;
        let zeros = |bytes| Buffer::<u8>::filled(cuda.pool(), if together { bytes } else { 0 }, 0);
        let (mut other, mut counters) = (zeros(h.len())?, zeros(COUNTERS * 4)?);
        let launch = Launch::new(cuda, self.kernel)
            .grid(width.div_ceil(UNITS), 1, 1)
            .block(THREADS)
            .shared(self.shared)
            .cooperative(together);
        let launch = direction
            .sequences(launch, out)
            .arg(&weights.weights)
            .arg(&weights.bias)
            .size((cell.gates() * width).next_multiple_of(packed.panel()))
            .size(width.next_multiple_of(packed.slab()))
            .arg(i32::from(packed == Operands::Bf16Swizzled))
            .out(&mut h)
            .out(&mut other)
            .out(&mut counters)
            .size(sequences)
            .size(positions)
            .size(depth);
        // SAFETY: the sequences are those of the order, the first of which has all positions, so rows lie inside x and y. The
        // weights are packed in the layout that is named; both operands have whole tiles of `depth` columns, and with the
        // counters are there where positions follow each other.
        unsafe { launch.run() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_sums_of_a_block() {
        let of =
            |cell, width, format| shared(RecurrentShape { cell, width, directions: 1 }, format);
        assert_eq!(of(Cell::Lstm, 1024, Format::Bf16), (64 << 10) + (32 << 10));
        assert_eq!(of(Cell::Gru, 1000, Format::Bf16), (48 << 10) + (32 << 10));
        assert_eq!(of(Cell::Lstm, 1024, Format::F32), (128 << 10) + (40 << 10));
    }
}
