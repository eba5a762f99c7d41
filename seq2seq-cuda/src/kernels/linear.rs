//! Linear layers: activations into the layout of a format (`rows.cu`), then the product with the fused epilogue
//! (`linear_<format>.cu`).

use super::linear_bf16_wgmma;
use super::operands::Operands;
use super::rows::{Operand, View};
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};
use crate::{Cuda, Linear};
use seq2seq_core::Activation;

static F32: Artifact = artifact!("linear_f32", step);
static BF16: Artifact = artifact!("linear_bf16", step);
static INT8: Artifact = artifact!("linear_int8", step);
static INT4: Artifact = artifact!("linear_int4", step);

/// A kernel for some rows, and what each of its blocks takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    pub(super) kernel: &'static Kernel,
    pub(super) threads: usize,
    /// Of a tile kernel; a streaming kernel takes all.
    pub(super) rows: Option<usize>,
    pub(super) channels: usize,
}

/// Kernels of one kind of operands, in the order of the rows that they take.
struct Kernels {
    /// With the most rows that each takes.
    stream: &'static [(usize, Choice)],
    /// Small tiles, for when large ones would leave multiprocessors idle.
    small: Choice,
    large: Choice,
}

macro_rules! choice {
    ($artifact:ident $name:literal, $threads:literal, $rows:expr, $channels:literal, $shared:expr) => {{
        static KERNEL: $crate::module::Kernel =
            $crate::module::Kernel::new(&$artifact, $name).with_shared($shared);
        Choice { kernel: &KERNEL, threads: $threads, rows: $rows, channels: $channels }
    }};
}
pub(super) use choice;

static F32_KERNELS: Kernels = Kernels {
    stream: &[
        (1, choice!(F32 "linear_f32_stream_1", 256, None, 32, 0)),
        (4, choice!(F32 "linear_f32_stream_4", 256, None, 32, 0)),
        (8, choice!(F32 "linear_f32_stream_8", 256, None, 32, 0)),
        (16, choice!(F32 "linear_f32_stream_16", 256, None, 32, 0)),
    ],
    small: choice!(F32 "linear_f32_tile_32", 64, Some(32), 64, 0),
    large: choice!(F32 "linear_f32_tile_64", 128, Some(64), 64, 0),
};

/// Shared memory of a tile kernel: four stages of tiles of 16 channels, `channel_bytes` each, and of tiles of 8 rows, a slab
/// of each; or in the end its sums, rows apart by 4 more than their length.
const fn stages(channels: u32, channel_bytes: u32, rows: u32) -> u32 {
    let stages = 4 * (channels / 16 * channel_bytes + rows / 8 * 512);
    let sums = rows * (channels + 4) * 4;
    if stages > sums { stages } else { sums }
}

macro_rules! mma_kernels {
    ($artifact:ident, $bytes:literal, $s8:literal, $s16:literal, $t32:literal,
     ($large:literal, $threads:literal, $rows:literal)) => {
        Kernels {
            stream: &[
                (8, choice!($artifact $s8, 256, None, 16, 0)),
                (16, choice!($artifact $s16, 256, None, 16, 0)),
            ],
            small: choice!($artifact $t32, 128, Some(32), 64, stages(64, $bytes, 32)),
            large: choice!($artifact $large, $threads, Some($rows), 128, stages(128, $bytes, $rows)),
        }
    };
}

static BF16_KERNELS: Kernels = mma_kernels!(
    BF16,
    1024,
    "linear_bf16_stream_8",
    "linear_bf16_stream_16",
    "linear_bf16_tile_32",
    ("linear_bf16_tile_128", 256, 128)
);
static INT8_KERNELS: Kernels = mma_kernels!(
    INT8,
    1024,
    "linear_int8_stream_8",
    "linear_int8_stream_16",
    "linear_int8_tile_32",
    ("linear_int8_tile_128", 256, 128)
);
static INT4_KERNELS: Kernels = mma_kernels!(
    INT4,
    576,
    "linear_int4_stream_8",
    "linear_int4_stream_16",
    "linear_int4_tile_32",
    ("linear_int4_tile_96", 384, 96)
);

/// The kernel for so many rows and channels. Every kernel of a kind of operands gives the same bits, so this is about time
/// alone: large tiles where they fill every multiprocessor, and where rows fill them. `rounds`: one that takes f32 for wgmma.
fn choose(
    operands: Operands,
    (rows, rounds): (usize, bool),
    channels: usize,
    multiprocessors: usize,
) -> Choice {
    let kernels = match operands {
        Operands::F32 => &F32_KERNELS,
        Operands::Bf16 => &BF16_KERNELS,
        Operands::Bf16Swizzled => {
            return linear_bf16_wgmma::choose(rows, channels, multiprocessors, rounds);
        }
        Operands::Int8 => &INT8_KERNELS,
        Operands::Int4 => &INT4_KERNELS,
    };
    if let Some((_, choice)) = kernels.stream.iter().find(|(most, _)| rows <= *most) {
        return *choice;
    }
    let large = kernels.large;
    let tile = large.rows.unwrap_or(rows);
    let blocks = rows.div_ceil(tile) * channels.div_ceil(large.channels);
    if rows > tile / 2 && blocks >= multiprocessors { large } else { kernels.small }
}

/// What the kernels call an activation.
pub(super) fn code(activation: Option<Activation>) -> i32 {
    match activation {
        None => 0,
        Some(Activation::Relu) => 1,
        Some(Activation::Gelu) => 2,
        Some(Activation::GeluTanh) => 3,
        Some(Activation::QuickGelu) => 4,
        Some(Activation::Silu) => 5,
        Some(Activation::Tanh) => 6,
    }
}

/// Of the epilogue, what applies to a product on the device.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fused<'a> {
    /// Gives all products of a gated layer, those of gate and up of an output side by side.
    pub(crate) plain: bool,
    pub(crate) activation: Option<Activation>,
    /// `[rows, output]`
    pub(crate) residual: Option<&'a Buffer<f32>>,
}

/// y = scale · x Wᵀ + b, then the epilogue, for the rows of `x`; `y` may have more.
pub(crate) fn linear(
    cuda: &Cuda,
    x: View<'_>,
    layer: &Linear,
    fused: Fused<'_>,
    y: &mut Buffer<f32>,
) -> Result<()> {
    let (shape, operands, rows) = (layer.shape, Operands::on(cuda, layer.format), x.rows);
    assert_eq!(x.width, shape.input);
    let gated = layer.gated && !fused.plain;
    let output = if gated { shape.output } else { shape.product };
    assert!(y.len() >= rows * output);
    assert!(fused.residual.is_none_or(|r| r.len() >= rows * output));
    x.check();
    let rounds = operands == Operands::Bf16Swizzled && linear_bf16_wgmma::rounds(&x);
    let operand = if rounds { None } else { Some(Operand::new(cuda, x, operands)?) };
    let multiprocessors = cuda.driver().multiprocessors() as usize;
    let choice = choose(operands, (rows, rounds), shape.product, multiprocessors);
    let blocks = shape.product.div_ceil(choice.channels);
    let grid = match choice.rows {
        None => [if rows == 0 { 0 } else { blocks }, 1],
        Some(tile) => [rows.div_ceil(tile), blocks],
    };
    let depth = shape.input.next_multiple_of(operands.slab());
    let values = operand.as_ref().map_or(x.address(), |operand| operand.values.address());
    let (scales, zeros) = match operand.as_ref().and_then(|operand| operand.quantised.as_ref()) {
        Some((scales, zeros)) => (scales.address(), zeros.address()),
        None => (0, 0),
    };
    let mut launch = Launch::new(cuda, choice.kernel)
        .grid(grid[0], grid[1], 1)
        .block(choice.threads)
        .shared(choice.kernel.shared as usize)
        .arg(&layer.weights)
        .arg(values)
        .arg(&layer.bias)
        .arg(layer.channel_scale.as_ref().map_or(0, Buffer::address))
        .arg(layer.channel_sum.as_ref().map_or(0, Buffer::address))
        .arg(scales)
        .arg(zeros)
        .arg(fused.residual.map_or(0, Buffer::address))
        .out(y)
        .arg(layer.scale)
        .arg(code(fused.activation))
        .arg(i32::from(gated))
        .size(rows)
        .size(shape.product)
        .size(output)
        // In columns for f32, in slabs otherwise.
        .size(if operands == Operands::F32 { depth } else { depth / operands.slab() });
    if rounds {
        launch = launch.size(x.width);
    }
    // SAFETY: the layer was packed for these kernels, its vectors padded to whole panels of channels; the operand has whole
    // tiles of rows, or x is taken as it is, and lies inside its buffer; residual and y are [rows, outputs].
    unsafe { launch.run() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(operands: Operands, rows: usize, channels: usize) -> &'static str {
        choose(operands, (rows, false), channels, 132).kernel.name
    }

    #[test]
    fn few_rows_stream_the_weights() {
        let f32 = [1, 2, 5, 16].map(|rows| name(Operands::F32, rows, 768));
        assert_eq!(f32, [1, 4, 8, 16].map(|n| format!("linear_f32_stream_{n}")));
        let int4 = [1, 8, 9, 16].map(|rows| name(Operands::Int4, rows, 768));
        assert_eq!(int4, [8, 8, 16, 16].map(|n| format!("linear_int4_stream_{n}")));
    }

    #[test]
    fn large_tiles_are_for_what_fills_the_device() {
        assert_eq!(name(Operands::Bf16, 17, 32128), "linear_bf16_tile_32");
        assert_eq!(name(Operands::Bf16, 128, 768), "linear_bf16_tile_32");
        assert_eq!(name(Operands::Bf16, 4096, 768), "linear_bf16_tile_128");
        assert_eq!(name(Operands::Bf16, 65, 132 * 128), "linear_bf16_tile_128");
        assert_eq!(name(Operands::F32, 4096, 768), "linear_f32_tile_64");
        assert_eq!(name(Operands::Int4, 4096, 768), "linear_int4_tile_96");
    }

    #[test]
    fn stages_fit_a_multiprocessor() {
        assert_eq!([stages(64, 1024, 32), stages(128, 1024, 128)], [24 << 10, 67584]);
        assert_eq!([stages(64, 576, 32), stages(128, 576, 96)], [17408, 50688]);
    }
}
