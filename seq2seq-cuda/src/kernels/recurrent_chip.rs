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

static F32: Artifact = artifact!("recurrent_chip_f32");
static F16: Artifact = artifact!("recurrent_chip_f16");
static BF16: Artifact = artifact!("recurrent_chip_bf16");

/// Shared memory of a block of an H100 or H200, the largest there is: what a layer needs is its shape's.
pub(super) const MOST_SHARED: u32 = 227 << 10;

/// Kernels of a cell and a format, whose names begin with `$stem`: a block owns 8 units, or 16.
macro_rules! kernels {
    ($artifact:ident, $stem:literal) => {{
        static EIGHT: Kernel =
            Kernel::new(&$artifact, concat!($stem, "_8_units")).with_shared(MOST_SHARED);
        static SIXTEEN: Kernel =
            Kernel::new(&$artifact, concat!($stem, "_16_units")).with_shared(MOST_SHARED);
        [&EIGHT, &SIXTEEN]
    }};
}

/// Units of an octet, and the threads of a block for each.
const OCTET: usize = 8;
const OCTET_THREADS: usize = 256;

/// Sequences that a block takes at once.
pub(super) const AT_ONCE: usize = 32;

/// Words of a barrier's counters: two lines of memory.
pub(super) const COUNTERS: usize = 64;

/// How blocks divide a layer, so that all of them are on the device together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Division {
    pub(super) kernel: &'static Kernel,
    /// Threads and bytes of a block.
    threads: usize,
    pub(super) shared: usize,
    /// Blocks of one group of sequences, and how many such groups there may be.
    pub(super) blocks: usize,
    groups: usize,
}

impl Division {
    /// Of so many blocks a group, of so many threads; none where the device has no room for a group.
    pub(super) fn of(
        cuda: &Cuda,
        kernel: &'static Kernel,
        (blocks, threads): (usize, usize),
        shared: usize,
    ) -> Result<Option<Self>> {
        let driver = cuda.driver();
        if shared > driver.shared_memory().min(MOST_SHARED) as usize {
            return Ok(None);
        }
        let function = cuda.function(kernel)?;
        let resident = driver.resident_blocks(function, threads as u32, shared as u32)? as usize;
        let groups = resident / blocks.max(1);
        Ok((groups > 0).then_some(Self { kernel, threads, shared, blocks, groups }))
    }

    pub(super) fn groups(&self, sequences: usize) -> usize {
        self.groups.min(sequences.div_ceil(AT_ONCE)).max(1)
    }

    /// How often a block takes sequences at a position.
    fn turns(&self, sequences: usize) -> usize {
        sequences.div_ceil(AT_ONCE).div_ceil(self.groups(sequences))
    }
}

/// A layer whose weights fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chip {
    format: Format,
    /// With 8 and with 16 units a block; one of them at least.
    divisions: [Option<Division>; 2],
}

/// Shared memory of a block: the weights of its units, and partial sums of eight chunks.
fn shared(shape: RecurrentShape, format: Format, octets: usize) -> usize {
    let depth = shape.width.next_multiple_of(Operands::Bf16.slab());
    let element = if format == Format::F32 { 4 } else { 2 };
    // Of FMA, rows apart by 8 more than their length.
    let apart = if format == Format::Bf16 { 0 } else { 8 };
    let sums = AT_ONCE * (octets * 4 * OCTET + apart) * 4;
    octets * shape.cell.gates() * OCTET * depth * element + 8 * sums
}

impl Chip {
    /// For a layer, by its shape and the device alone: where all of its weights fit, in f32, f16 or bf16.
    pub(crate) fn of(cuda: &Cuda, shape: RecurrentShape, format: Format) -> Result<Option<Self>> {
        let kernels = match (format, shape.cell) {
            (Format::F32, Cell::Lstm) => kernels!(F32, "recur_lstm_f32"),
            (Format::F32, Cell::Gru) => kernels!(F32, "recur_gru_f32"),
            (Format::F16, Cell::Lstm) => kernels!(F16, "recur_lstm_f16"),
            (Format::F16, Cell::Gru) => kernels!(F16, "recur_gru_f16"),
            (Format::Bf16, Cell::Lstm) => kernels!(BF16, "recur_lstm_bf16"),
            (Format::Bf16, Cell::Gru) => kernels!(BF16, "recur_gru_bf16"),
            _ => return Ok(None),
        };
        let mut divisions = [None; 2];
        for (i, kernel) in kernels.into_iter().enumerate() {
            let octets = i + 1;
            let blocks = (shape.width.div_ceil(octets * OCTET), octets * OCTET_THREADS);
            divisions[i] = Division::of(cuda, kernel, blocks, shared(shape, format, octets))?;
        }
        Ok(divisions.iter().any(Option::is_some).then_some(Self { format, divisions }))
    }

    /// The division for so many sequences, which is about time alone: fewest turns; then, for one turn of all, most blocks, and
    /// else fewest, as each reads h.
    fn choose(&self, sequences: usize) -> Division {
        let all = self.divisions.iter().flatten();
        let few = sequences <= AT_ONCE;
        let blocks = |d: &Division| if few { usize::MAX - d.blocks } else { d.blocks };
        *all.min_by_key(|d| (d.turns(sequences), blocks(d))).expect("one of them fits")
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
        // The weights are read as they lie; bf16 is multiplied by mma.sync, whatever linear layers take.
        let packed = Operands::on(cuda, self.format);
        let operands = if packed == Operands::Bf16Swizzled { Operands::Bf16 } else { packed };
        let depth = width.next_multiple_of(operands.slab());
        let mut h =
            Operand::new(cuda, View::rows(&direction.h, sequences, width), operands)?.values;
        let division = self.choose(sequences);
        let (together, groups) = (positions > 1, division.groups(sequences));
        let zeros = |bytes| Buffer::<u8>::filled(cuda.pool(), if together { bytes } else { 0 }, 0);
        let (mut other, mut counters) = (zeros(h.len())?, zeros(groups * COUNTERS * 4)?);
        let launch = Launch::new(cuda, division.kernel)
            .grid(division.blocks, groups, 1)
            .block(division.threads)
            .shared(division.shared)
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
        let of = |cell, width, format, octets| {
            shared(RecurrentShape { cell, width, directions: 1 }, format, octets) >> 10
        };
        assert_eq!([1, 2].map(|o| of(Cell::Lstm, 1024, Format::Bf16, o)), [64 + 32, 128 + 64]);
        assert_eq!([1, 2].map(|o| of(Cell::Gru, 1000, Format::Bf16, o)), [48 + 32, 96 + 64]);
        assert_eq!([1, 2].map(|o| of(Cell::Lstm, 512, Format::F32, o)), [64 + 40, 128 + 72]);
        assert_eq!([1, 2].map(|o| of(Cell::Lstm, 1024, Format::F16, o)), [64 + 40, 128 + 72]);
    }

    /// LSTM of 1024 in bf16 on 132 multiprocessors, a block to each; others.
    #[test]
    fn sequences_are_divided_where_there_is_room() {
        let division = |octets: usize, blocks, groups| {
            let kernel = kernels!(BF16, "recur_lstm_bf16")[octets - 1];
            Some(Division { kernel, threads: octets * OCTET_THREADS, shared: 0, blocks, groups })
        };
        let chip = |divisions| Chip { format: Format::Bf16, divisions };
        let of = |chip: Chip, sequences| {
            let d = chip.choose(sequences);
            (d.threads / OCTET_THREADS, d.groups(sequences), d.turns(sequences))
        };
        let both = chip([division(1, 128, 1), division(2, 64, 2)]);
        let found = [1, 32, 33, 64, 65, 200].map(|n| of(both, n));
        assert_eq!(found, [(1, 1, 1), (1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 4)]);
        // Where 16 units have room for one group and 8 for two.
        let uneven = chip([division(1, 90, 2), division(2, 45, 1)]);
        assert_eq!([32, 64].map(|n| of(uneven, n)), [(1, 1, 1), (1, 2, 1)]);
        assert_eq!(of(chip([None, division(2, 80, 1)]), 1), (2, 1, 1));
    }
}
