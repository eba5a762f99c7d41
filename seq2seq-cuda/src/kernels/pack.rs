//! Matrices on the device, laid out as the weights of a linear kernel.

use super::operands::Operands;
use super::rows::View;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};

static ARTIFACT: Artifact = artifact!("pack");
static PACK_F32: Kernel = Kernel::new(&ARTIFACT, "pack_f32");
static PACK_BF16: Kernel = Kernel::new(&ARTIFACT, "pack_bf16");
static PACK_BF16_SWIZZLED: Kernel = Kernel::new(&ARTIFACT, "pack_bf16_swizzled");

/// Values of a side of what a block takes, and its threads.
const SIDE: usize = 32;
const THREADS: usize = 256;

/// Where a matrix goes: row i is channel `channel` + i · `step`, from column `column` on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) channel: usize,
    pub(crate) step: usize,
    pub(crate) column: usize,
}

/// A layout to be filled, of f32 or bf16, which are trained. Others are filled by the host.
pub(crate) struct Target<'a> {
    pub(crate) operands: Operands,
    /// Channels, padded to whole panels; and columns, padded to whole slabs.
    pub(crate) size: [usize; 2],
    pub(crate) weights: &'a mut Buffer<u8>,
    /// Set to 1 where a value is not finite in the format.
    pub(crate) bad: &'a mut Buffer<u32>,
}

/// Lays `source` out at its place.
pub(crate) fn pack(
    cuda: &Cuda,
    source: View<'_>,
    place: Place,
    target: &mut Target<'_>,
) -> Result<()> {
    source.check();
    let [channels, depth] = target.size;
    // How far the kernel has to go from one group of channels, or of columns, to the next.
    let (kernel, reach) = match target.operands {
        Operands::F32 => (&PACK_F32, depth),
        Operands::Bf16 => (&PACK_BF16, depth),
        Operands::Bf16Swizzled => (&PACK_BF16_SWIZZLED, channels),
        Operands::F16 | Operands::Int8 | Operands::Int8Swizzled | Operands::Int4 => {
            panic!("packed on the host alone")
        }
    };
    assert!(source.rows == 0 || place.channel + (source.rows - 1) * place.step < channels);
    assert!(place.column + source.width <= depth);
    assert_eq!(target.weights.len(), channels * depth * target.operands.element());
    // Rows along y: blocks that follow each other share rows, and there may be more columns than rows or fewer.
    let blocks = [source.width.div_ceil(SIDE), source.rows.div_ceil(SIDE)];
    let launch = Launch::new(cuda, kernel)
        .grid(blocks[0], blocks[1], 1)
        .block(THREADS)
        .arg(source.address())
        .arg(source.strides[0] as i64)
        .arg(source.strides[1] as i64)
        .size(source.rows)
        .size(source.width)
        .size(place.channel)
        .size(place.step)
        .size(place.column)
        .size(reach)
        .out(target.weights)
        .out(target.bad);
    // SAFETY: the source lies inside its buffer and the place inside the layout, as was just checked.
    unsafe { launch.run() }
}
