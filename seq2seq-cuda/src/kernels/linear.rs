//! Linear layers: activations into the layout of a format (`rows.cu`), then the product with the fused epilogue
//! (`linear_<format>.cu`); up to 8 rows are read as they are by the product.

use super::linear_cost::{self, Product, Slab, Tile, cycles};
use super::linear_wgmma;
use super::operands::Operands;
use super::rows::{Operand, View};
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use crate::{Cuda, Linear};
use seq2seq_core::{Activation, Rows};
use std::sync::Arc;

static F32: Artifact = artifact!("linear_f32", step);
static F16: Artifact = artifact!("linear_f16", step);
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
    /// Of a tile kernel of the matrix units: whether two blocks share a multiprocessor, by registers and shared memory.
    pub(super) in_pairs: bool,
}

impl Choice {
    pub(super) const fn in_pairs(self) -> Self {
        Self { in_pairs: true, ..self }
    }

    /// Whether it is so, by the registers that the compiler gave it for `target`: a multiprocessor has 65536 and 164 KB of shared
    /// memory at least, 228 on Hopper, of which the system keeps 1 KB a block.
    #[cfg(test)]
    pub(super) fn fits_twice(&self, target: &str) -> bool {
        let resources = include_str!("../../artifacts/resources.txt");
        let name = format!(" {} {target} ", self.kernel.name);
        let line = resources.lines().find_map(|l| l.split_once(&name)).unwrap().1;
        let registers: usize = line.split_once(" registers").unwrap().0.parse().unwrap();
        // They are given out by eights to a thread.
        let registers = registers.next_multiple_of(8) * self.threads;
        let shared = if target == "sm_90a" { 228 << 10 } else { 164 << 10 };
        2 * registers <= 65536 && 2 * (self.kernel.shared as usize + 1024) <= shared
    }

    /// Of tile kernels, the larger ones first, the one that is expected to be done first; a smaller one where it gains more than
    /// counting is worth. Tiles that rows fill to no more than half are the last resort.
    pub(super) fn quickest(
        kernels: &[&Self],
        slab: &Slab,
        product: Product,
        multiprocessors: usize,
    ) -> Self {
        let least = kernels.iter().filter_map(|k| k.rows).min().unwrap_or(0);
        let cost = |kernel: &Self, rows: usize| {
            let tile = Tile { rows, channels: kernel.channels, in_pairs: kernel.in_pairs };
            cycles(slab, product, tile, multiprocessors)
        };
        let mut best: Option<(usize, &Self)> = None;
        for &kernel in kernels {
            let Some(rows) = kernel.rows.filter(|&r| r == least || product.rows > r / 2) else {
                continue;
            };
            let cost = cost(kernel, rows);
            if best.is_none_or(|(of_best, _)| cost * 20 < of_best * 19) {
                best = Some((cost, kernel));
            }
        }
        best.map_or(*kernels[kernels.len() - 1], |(_, kernel)| *kernel)
    }
}

/// Kernels of one kind of operands, in the order of the rows that they take.
struct Kernels {
    /// For rows as they are ([`as_they_are`]), with the most that each takes.
    few: &'static [(usize, Choice)],
    /// For rows that are laid out, as all that follow: up to 16.
    stream: Choice,
    /// Small tiles, for when large ones would leave multiprocessors idle.
    small: Choice,
    large: Choice,
    /// None where instructions are what limits, of which either tile needs as many.
    slab: Option<Slab>,
}

macro_rules! choice {
    ($artifact:ident $name:expr, $threads:literal, $rows:expr, $channels:literal, $shared:expr) => {{
        static KERNEL: $crate::module::Kernel =
            $crate::module::Kernel::new(&$artifact, $name).with_shared($shared);
        Choice {
            kernel: &KERNEL,
            threads: $threads,
            rows: $rows,
            channels: $channels,
            in_pairs: false,
        }
    }};
}
pub(super) use choice;

/// Rows that kernels take as they are.
pub(super) const FEW_ROWS: usize = 8;

/// Rows that are laid out and streamed to.
const STREAMED_ROWS: usize = 16;

/// Whether a kernel makes operands of rows by itself, so that a layer of a step is one launch: few rows, one after the other, that
/// can be read 16 bytes at a time.
fn as_they_are(x: &View<'_>) -> bool {
    let whole = x.width.is_multiple_of(4) && x.address().is_multiple_of(16);
    whole && x.rows <= FEW_ROWS && x.strides == [x.width, 1]
}

/// Those of a format that FMA multiplies, whose names begin with `$stem`.
macro_rules! fma_kernels {
    ($artifact:ident, $stem:literal) => {
        Kernels {
            few: &[
                (1, choice!($artifact concat!($stem, "_stream_1"), 256, None, 32, 0)),
                (4, choice!($artifact concat!($stem, "_stream_4"), 256, None, 32, 0)),
                (FEW_ROWS, choice!($artifact concat!($stem, "_stream_8"), 256, None, 32, 0)),
            ],
            stream: choice!($artifact concat!($stem, "_stream_16"), 256, None, 32, 0),
            small: choice!($artifact concat!($stem, "_tile_32"), 64, Some(32), 64, 0),
            large: choice!($artifact concat!($stem, "_tile_64"), 128, Some(64), 64, 0),
            slab: None,
        }
    };
}

static F32_KERNELS: Kernels = fma_kernels!(F32, "linear_f32");
static F16_KERNELS: Kernels = fma_kernels!(F16, "linear_f16");

/// Shared memory of a tile kernel: four stages of tiles of 16 channels, `channel_bytes` each, and of tiles of 8 rows, a slab
/// of each; or in the end its sums, rows apart by 4 more than their length.
const fn stages(channels: u32, channel_bytes: u32, rows: u32) -> u32 {
    let stages = 4 * (channels / 16 * channel_bytes + rows / 8 * 512);
    let sums = rows * (channels + 4) * 4;
    if stages > sums { stages } else { sums }
}

/// Those of a format of the matrix units, whose names begin with `$stem`: bytes of 16 channels of a slab, and the rows and threads
/// of the large tile.
macro_rules! mma_kernels {
    (
        $artifact:ident, $stem:literal, $bytes:literal, ($rows:literal, $threads:literal $($in_pairs:ident)?), $slab:expr
    ) => {
        Kernels {
            few: &[(
                FEW_ROWS,
                choice!($artifact concat!($stem, "_stream_8"), 256, None, 16, 0),
            )],
            stream: choice!($artifact concat!($stem, "_stream_16"), 256, None, 16, 0),
            small: choice!(
                $artifact concat!($stem, "_tile_32"), 128, Some(32), 64, stages(64, $bytes, 32)
            )
            .in_pairs(),
            large: choice!(
                $artifact concat!($stem, "_tile_", $rows), $threads, Some($rows), 128,
                stages(128, $bytes, $rows)
            )
            $(.$in_pairs())?,
            slab: $slab,
        }
    };
}

static BF16_KERNELS: Kernels =
    mma_kernels!(BF16, "linear_bf16", 1024, (128, 256), Some(linear_cost::BF16));
static INT8_KERNELS: Kernels =
    mma_kernels!(INT8, "linear_int8", 1024, (128, 256 in_pairs), Some(linear_cost::INT8));
static INT4_KERNELS: Kernels = mma_kernels!(INT4, "linear_int4", 576, (96, 384), None);

/// The kernel for a product, of rows as they are or laid out. Every kernel of a kind of operands gives the same bits, so this is
/// about time alone.
fn choose(
    operands: Operands,
    (product, as_they_are): (Product, bool),
    multiprocessors: usize,
) -> Choice {
    let rows = product.rows;
    let on_hopper = |kernels: &linear_wgmma::Kernels| match as_they_are {
        true => kernels.of_few_rows(product.channels, multiprocessors),
        false => kernels.of_rows(product, multiprocessors),
    };
    let kernels = match operands {
        Operands::F32 => &F32_KERNELS,
        Operands::F16 => &F16_KERNELS,
        Operands::Bf16 => &BF16_KERNELS,
        Operands::Bf16Swizzled => return on_hopper(&linear_wgmma::BF16_KERNELS),
        Operands::Int8 => &INT8_KERNELS,
        Operands::Int8Swizzled => return on_hopper(&linear_wgmma::INT8_KERNELS),
        Operands::Int4 => &INT4_KERNELS,
    };
    match kernels.few.iter().find(|(most, _)| as_they_are && rows <= *most) {
        Some((_, choice)) => return *choice,
        None if rows <= STREAMED_ROWS => return kernels.stream,
        None => {}
    }
    let (large, small) = (kernels.large, kernels.small);
    if let Some(slab) = &kernels.slab {
        return Choice::quickest(&[&large, &small], slab, product, multiprocessors);
    }
    let tile = large.rows.unwrap_or(rows);
    let blocks = rows.div_ceil(tile) * product.channels.div_ceil(large.channels);
    if rows > tile / 2 && blocks >= multiprocessors { large } else { small }
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

/// y = scale · x Wᵀ + b, then the epilogue, for the rows of a tensor, which keeps them as they are laid out for it.
pub(crate) fn of_tensor(
    cuda: &Cuda,
    x: &Tensor,
    layer: &Linear,
    fused: Fused<'_>,
    y: &mut Buffer<f32>,
) -> Result<()> {
    by_rows(cuda, View::of(x), || laid_out(cuda, x, layer), layer, fused, y)
}

/// The rows of a tensor as the layer reads them where they are laid out.
fn laid_out(cuda: &Cuda, x: &Tensor, layer: &Linear) -> Result<Arc<Operand>> {
    let operands = Operands::on(cuda, layer.format);
    x.operand(operands, || Operand::new(cuda, View::of(x), operands))
}

/// y = scale · x Wᵀ + b, then the epilogue, for the rows of `x`; `y` may have more.
pub(crate) fn linear(
    cuda: &Cuda,
    x: View<'_>,
    layer: &Linear,
    fused: Fused<'_>,
    y: &mut Buffer<f32>,
) -> Result<()> {
    let laid_out = || Operand::new(cuda, x, Operands::on(cuda, layer.format)).map(Arc::new);
    by_rows(cuda, x, laid_out, layer, fused, y)
}

/// By rows as they are, or else as they are laid out.
fn by_rows(
    cuda: &Cuda,
    x: View<'_>,
    laid_out: impl FnOnce() -> Result<Arc<Operand>>,
    layer: &Linear,
    fused: Fused<'_>,
    y: &mut Buffer<f32>,
) -> Result<()> {
    assert_eq!(x.width, layer.shape.input);
    x.check();
    if as_they_are(&x) {
        return product(cuda, Source::Values(x), layer, fused, Target::Values(y));
    }
    let operand = laid_out()?;
    product(cuda, Source::Operand(&operand), layer, fused, Target::Values(y))
}

/// Whether the first layer can give `rows` rows as the operand of the second: in bf16, and more than are read as they are.
pub(crate) fn lays_out(cuda: &Cuda, rows: usize, [first, second]: [&Linear; 2]) -> bool {
    let [operands, of_second] = [first, second].map(|layer| Operands::on(cuda, layer.format));
    let whole = first.shape.output.is_multiple_of(operands.slab());
    operands.rounds_rows() && operands == of_second && whole && rows > FEW_ROWS
}

/// `linear` by two layers, the first of which [`lays_out`] its results.
pub(crate) fn feed_forward(
    cuda: &Cuda,
    x: &Tensor,
    [first, second]: [&Linear; 2],
    [inner, outer]: [Fused<'_>; 2],
    y: &mut Buffer<f32>,
) -> Result<()> {
    assert!(lays_out(cuda, x.rows(), [first, second]));
    assert_eq!((x.width(), first.shape.output), (first.shape.input, second.shape.input));
    let x = laid_out(cuda, x, first)?;
    let mut between = Operand::unset(cuda, x.rows, second.shape.input, x.operands)?;
    product(cuda, Source::Operand(&x), first, inner, Target::Operand(&mut between))?;
    drop(x);
    product(cuda, Source::Operand(&between), second, outer, Target::Values(y))
}

/// The rows of a product: as they are, or laid out for it.
enum Source<'a> {
    Values(View<'a>),
    Operand(&'a Operand),
}

/// Where its results go.
enum Target<'a> {
    Values(&'a mut Buffer<f32>),
    /// In the layout of a layer whose operands are of the same kind.
    Operand(&'a mut Operand),
}

fn product(
    cuda: &Cuda,
    x: Source<'_>,
    layer: &Linear,
    fused: Fused<'_>,
    to: Target<'_>,
) -> Result<()> {
    let (shape, operands) = (layer.shape, Operands::on(cuda, layer.format));
    let gated = layer.gated && !fused.plain;
    let output = if gated { shape.output } else { shape.product };
    let (rows, as_they_are) = match &x {
        Source::Values(view) => (view.rows, true),
        Source::Operand(operand) => (operand.rows, false),
    };
    let lays_out = matches!(to, Target::Operand(_));
    assert!(match &to {
        Target::Values(y) => y.len() >= rows * output,
        Target::Operand(to) => to.rows == rows && to.width == output && fused.residual.is_none(),
    });
    assert!(fused.residual.is_none_or(|r| r.len() >= rows * output));
    let multiprocessors = cuda.driver().multiprocessors() as usize;
    let size = Product { rows, channels: shape.product, columns: shape.input };
    let choice = choose(operands, (size, as_they_are), multiprocessors);
    let blocks = shape.product.div_ceil(choice.channels);
    let grid = match choice.rows {
        None => [if rows == 0 { 0 } else { blocks }, 1],
        Some(tile) => [rows.div_ceil(tile), blocks],
    };
    let depth = shape.input.next_multiple_of(operands.slab());
    let (values, (scales, zeros)) = match &x {
        Source::Values(view) => (view.address(), (0, 0)),
        Source::Operand(operand) => (operand.values.address(), operand.quantised_at()),
    };
    let launch = Launch::new(cuda, choice.kernel)
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
        .arg(fused.residual.map_or(0, Buffer::address));
    let launch = match to {
        Target::Values(y) => launch.out(y),
        Target::Operand(to) => launch.out(&mut to.values),
    };
    let mut launch = launch
        .arg(layer.scale)
        .arg(code(fused.activation))
        .arg(i32::from(gated))
        .arg(i32::from(lays_out))
        .size(rows)
        .size(shape.product)
        .size(output)
        // In columns for FMA, in slabs for the matrix units.
        .size(if operands.rows_are_f32() { depth } else { depth / operands.slab() });
    if let Source::Values(view) = &x {
        launch = launch.size(view.width);
    }
    // SAFETY: the layer was packed for these kernels, its vectors padded to whole panels of channels; the operand has whole
    // tiles of rows, or x is read as it is, and lies inside its buffer; residual and y are [rows, outputs], or y is an operand of
    // whole tiles of rows and whole slabs of outputs.
    unsafe { launch.run() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(operands: Operands, rows: usize, channels: usize) -> &'static str {
        let product = Product { rows, channels, columns: 768 };
        choose(operands, (product, rows <= FEW_ROWS), 132).kernel.name
    }

    #[test]
    fn few_rows_stream_the_weights() {
        for (operands, format) in [(Operands::F32, "f32"), (Operands::F16, "f16")] {
            let names = [1, 2, 5, 16].map(|rows| name(operands, rows, 768));
            assert_eq!(names, [1, 4, 8, 16].map(|n| format!("linear_{format}_stream_{n}")));
        }
        let int4 = [1, 8, 9, 16].map(|rows| name(Operands::Int4, rows, 768));
        assert_eq!(int4, [8, 8, 16, 16].map(|n| format!("linear_int4_stream_{n}")));
        let one = Product { rows: 1, channels: 768, columns: 768 };
        let laid_out = |operands| choose(operands, (one, false), 132).kernel.name;
        let mma = [Operands::F32, Operands::Int8].map(laid_out);
        assert_eq!(mma, ["linear_f32_stream_16", "linear_int8_stream_16"]);
        let wgmma = [Operands::Bf16Swizzled, Operands::Int8Swizzled].map(laid_out);
        assert_eq!(wgmma, ["linear_bf16_wgmma_64x16", "linear_int8_wgmma_64x16"]);
    }

    #[test]
    fn large_tiles_are_for_what_fills_the_device() {
        assert_eq!(name(Operands::Bf16, 17, 32128), "linear_bf16_tile_32");
        assert_eq!(name(Operands::Bf16, 128, 768), "linear_bf16_tile_32");
        assert_eq!(name(Operands::Bf16, 4096, 768), "linear_bf16_tile_128");
        assert_eq!(name(Operands::Bf16, 65, 132 * 128), "linear_bf16_tile_128");
        assert_eq!(name(Operands::F32, 4096, 768), "linear_f32_tile_64");
        assert_eq!(name(Operands::F16, 4096, 768), "linear_f16_tile_64");
        assert_eq!(name(Operands::Int4, 4096, 768), "linear_int4_tile_96");
    }

    #[test]
    fn blocks_share_a_multiprocessor_where_the_choice_counts_on_it() {
        for kernels in [&BF16_KERNELS, &INT8_KERNELS] {
            for choice in [&kernels.large, &kernels.small] {
                assert_eq!(choice.in_pairs, choice.fits_twice("sm_80"), "{}", choice.kernel.name);
            }
        }
    }

    #[test]
    fn stages_fit_a_multiprocessor() {
        assert_eq!([stages(64, 1024, 32), stages(128, 1024, 128)], [24 << 10, 67584]);
        assert_eq!([stages(64, 576, 32), stages(128, 576, 96)], [17408, 50688]);
    }
}
