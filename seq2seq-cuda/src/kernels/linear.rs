//! Linear layers: activations into the layout of a format (`rows.cu`), then the product with the fused epilogue
//! (`linear_<format>.cu`).

use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};
use crate::{Cuda, Linear};
use seq2seq_core::{Activation, Format};

static ROWS: Artifact = artifact!("rows");
static ROWS_F32: Kernel = Kernel::new(&ROWS, "rows_f32");
static ROWS_BF16: Kernel = Kernel::new(&ROWS, "rows_bf16");
static ROWS_U8: Kernel = Kernel::new(&ROWS, "rows_u8");

static F32: Artifact = artifact!("linear_f32");
static BF16: Artifact = artifact!("linear_bf16");
static INT8: Artifact = artifact!("linear_int8");
static INT4: Artifact = artifact!("linear_int4");

/// Rows of a tile of activations.
const TILE: usize = 8;

/// Columns that a row of activations, and a channel, is padded to a multiple of: a slab of the matrix units' operands.
pub(crate) fn slab(format: Format) -> usize {
    match format {
        Format::F32 | Format::Bf16 => 32,
        Format::Int8 | Format::Int4 => 64,
    }
}

/// Channels that lie together.
pub(crate) fn panel(format: Format) -> usize {
    if format == Format::F32 { 32 } else { 16 }
}

/// A kernel for some rows, and what each of its blocks takes.
#[derive(Debug, Clone, Copy)]
struct Choice {
    kernel: &'static Kernel,
    threads: usize,
    /// Of a tile kernel; a streaming kernel takes all.
    rows: Option<usize>,
    channels: usize,
}

/// Kernels of one format, in the order of the rows that they take.
struct Kernels {
    /// With the most rows that each takes.
    stream: &'static [(usize, Choice)],
    /// Small tiles, for when large ones would leave multiprocessors idle.
    small: Choice,
    large: Choice,
}

macro_rules! choice {
    ($artifact:ident $name:literal, $threads:literal, $rows:expr, $channels:literal, $shared:expr) => {{
        static KERNEL: Kernel = Kernel::new(&$artifact, $name).with_shared($shared);
        Choice { kernel: &KERNEL, threads: $threads, rows: $rows, channels: $channels }
    }};
}

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
    ($artifact:ident, $bytes:literal, $s8:literal, $s16:literal, $t32:literal, $t128:literal) => {
        Kernels {
            stream: &[
                (8, choice!($artifact $s8, 256, None, 16, 0)),
                (16, choice!($artifact $s16, 256, None, 16, 0)),
            ],
            small: choice!($artifact $t32, 128, Some(32), 64, stages(64, $bytes, 32)),
            large: choice!($artifact $t128, 256, Some(128), 128, stages(128, $bytes, 128)),
        }
    };
}

static BF16_KERNELS: Kernels = mma_kernels!(
    BF16,
    1024,
    "linear_bf16_stream_8",
    "linear_bf16_stream_16",
    "linear_bf16_tile_32",
    "linear_bf16_tile_128"
);
static INT8_KERNELS: Kernels = mma_kernels!(
    INT8,
    1024,
    "linear_int8_stream_8",
    "linear_int8_stream_16",
    "linear_int8_tile_32",
    "linear_int8_tile_128"
);
static INT4_KERNELS: Kernels = mma_kernels!(
    INT4,
    576,
    "linear_int4_stream_8",
    "linear_int4_stream_16",
    "linear_int4_tile_32",
    "linear_int4_tile_128"
);

/// The kernel for so many rows and channels. Every kernel of a format gives the same bits, so this is about time alone:
/// large tiles where they fill every multiprocessor, and where rows fill them.
fn choose(format: Format, rows: usize, channels: usize, multiprocessors: usize) -> Choice {
    let kernels = match format {
        Format::F32 => &F32_KERNELS,
        Format::Bf16 => &BF16_KERNELS,
        Format::Int8 => &INT8_KERNELS,
        Format::Int4 => &INT4_KERNELS,
    };
    if let Some((_, choice)) = kernels.stream.iter().find(|(most, _)| rows <= *most) {
        return *choice;
    }
    let large = kernels.large;
    let tile = large.rows.unwrap_or(rows);
    let blocks = rows.div_ceil(tile) * channels.div_ceil(large.channels);
    if rows > tile / 2 && blocks >= multiprocessors { large } else { kernels.small }
}

/// Activations in the layout of a format, padded.
struct Operand {
    values: Buffer<u8>,
    /// Of int8 and int4: a scale and a zero point a row.
    quantised: Option<(Buffer<f32>, Buffer<i32>)>,
}

impl Operand {
    /// Of the first `rows` rows of `x`.
    fn new(
        cuda: &Cuda,
        x: &Buffer<f32>,
        rows: usize,
        width: usize,
        format: Format,
    ) -> Result<Self> {
        assert!(x.len() >= rows * width);
        let depth = width.next_multiple_of(slab(format));
        let tiles = rows.div_ceil(TILE);
        let element = match format {
            Format::F32 => 4,
            Format::Bf16 => 2,
            Format::Int8 | Format::Int4 => 1,
        };
        let mut values = cuda.buffer(tiles * TILE * depth * element)?;
        let mut quantised = None;
        let launch = match format {
            Format::F32 => {
                Launch::new(cuda, &ROWS_F32).grid(tiles, depth.div_ceil(128), 1).block(128)
            }
            Format::Bf16 => {
                Launch::new(cuda, &ROWS_BF16).grid(tiles, (depth / 32).div_ceil(4), 1).block(128)
            }
            Format::Int8 | Format::Int4 => {
                Launch::new(cuda, &ROWS_U8).grid(tiles * TILE, 1, 1).block(row_threads(depth))
            }
        };
        let mut launch = launch.arg(x).size(rows).size(width).size(depth).out(&mut values);
        if format.quantises_rows() {
            let (mut scales, mut zeros) = (cuda.buffer(rows)?, cuda.buffer(rows)?);
            launch = launch.out(&mut scales).out(&mut zeros);
            quantised = Some((scales, zeros));
        }
        // SAFETY: x is [rows, width]; `values` has whole tiles of `depth` columns; a scale and a zero point for each row.
        unsafe { launch.run() }?;
        Ok(Self { values, quantised })
    }
}

/// Threads that quantise a row.
fn row_threads(depth: usize) -> usize {
    (depth / 4).next_multiple_of(32).clamp(32, 256)
}

/// What the kernels call an activation.
fn code(activation: Option<Activation>) -> i32 {
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
    pub(crate) activation: Option<Activation>,
    /// `[rows, output]`
    pub(crate) residual: Option<&'a Buffer<f32>>,
}

/// y = scale · x Wᵀ + b, then the epilogue, for the first `rows` rows of `x` and `y`, which may have more.
pub(crate) fn linear(
    cuda: &Cuda,
    (x, rows): (&Buffer<f32>, usize),
    layer: &Linear,
    fused: Fused<'_>,
    y: &mut Buffer<f32>,
) -> Result<()> {
    let (shape, format) = (layer.shape, layer.format);
    assert!(y.len() >= rows * shape.output);
    assert!(fused.residual.is_none_or(|r| r.len() >= rows * shape.output));
    let operand = Operand::new(cuda, x, rows, shape.input, format)?;
    let choice = choose(format, rows, shape.product, cuda.driver().multiprocessors() as usize);
    let blocks = shape.product.div_ceil(choice.channels);
    let grid = match choice.rows {
        None => [if rows == 0 { 0 } else { blocks }, 1],
        Some(tile) => [rows.div_ceil(tile), blocks],
    };
    let depth = shape.input.next_multiple_of(slab(format));
    let (scales, zeros) = match &operand.quantised {
        Some((scales, zeros)) => (scales.address(), zeros.address()),
        None => (0, 0),
    };
    let launch = Launch::new(cuda, choice.kernel)
        .grid(grid[0], grid[1], 1)
        .block(choice.threads)
        .shared(choice.kernel.shared as usize)
        .arg(&layer.weights)
        .arg(&operand.values)
        .arg(&layer.bias)
        .arg(layer.channel_scale.as_ref().map_or(0, Buffer::address))
        .arg(layer.channel_sum.as_ref().map_or(0, Buffer::address))
        .arg(scales)
        .arg(zeros)
        .arg(fused.residual.map_or(0, Buffer::address))
        .out(y)
        .arg(layer.scale)
        .arg(code(fused.activation))
        .arg(i32::from(layer.gated))
        .size(rows)
        .size(shape.product)
        .size(shape.output)
        // In columns for f32, in slabs otherwise.
        .size(if format == Format::F32 { depth } else { depth / slab(format) });
    // SAFETY: the layer was packed for these kernels, its vectors padded to whole panels of channels; the operand has whole
    // tiles of rows; residual and y are [rows, outputs].
    unsafe { launch.run() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(format: Format, rows: usize, channels: usize) -> &'static str {
        choose(format, rows, channels, 132).kernel.name
    }

    #[test]
    fn few_rows_stream_the_weights() {
        let f32 = [1, 2, 5, 16].map(|rows| name(Format::F32, rows, 768));
        assert_eq!(f32, [1, 4, 8, 16].map(|n| format!("linear_f32_stream_{n}")));
        let int4 = [1, 8, 9, 16].map(|rows| name(Format::Int4, rows, 768));
        assert_eq!(int4, [8, 8, 16, 16].map(|n| format!("linear_int4_stream_{n}")));
    }

    #[test]
    fn large_tiles_are_for_what_fills_the_device() {
        assert_eq!(name(Format::Bf16, 17, 32128), "linear_bf16_tile_32");
        assert_eq!(name(Format::Bf16, 128, 768), "linear_bf16_tile_32");
        assert_eq!(name(Format::Bf16, 4096, 768), "linear_bf16_tile_128");
        assert_eq!(name(Format::Bf16, 65, 132 * 128), "linear_bf16_tile_128");
        assert_eq!(name(Format::F32, 4096, 768), "linear_f32_tile_64");
    }

    #[test]
    fn stages_fit_a_multiprocessor() {
        assert_eq!([stages(64, 1024, 32), stages(128, 1024, 128)], [24 << 10, 67584]);
        assert_eq!([stages(64, 576, 32), stages(128, 576, 128)], [17408, 67584]);
    }

    #[test]
    fn rows_are_quantised_by_whole_warps() {
        assert_eq!([64, 128, 256, 4096].map(row_threads), [32, 32, 64, 256]);
    }
}
