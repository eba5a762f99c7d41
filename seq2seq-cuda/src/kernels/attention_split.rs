//! Attention of few rows, the chunks of keys spread over the device, in f32 or bf16.

use super::attention::{Attention, Extra, instance};
use super::rows::Operand;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Table, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Precision;

static ARTIFACT: Artifact = artifact!("attention_split", step);
static SEVERAL: [Kernel; 4] = [
    Kernel::new(&ARTIFACT, "attention_split_32"),
    Kernel::new(&ARTIFACT, "attention_split_64"),
    Kernel::new(&ARTIFACT, "attention_split_128"),
    Kernel::new(&ARTIFACT, "attention_split_256"),
];
static ONE: [Kernel; 4] = [
    Kernel::new(&ARTIFACT, "attention_split_32_one"),
    Kernel::new(&ARTIFACT, "attention_split_64_one"),
    Kernel::new(&ARTIFACT, "attention_split_128_one"),
    Kernel::new(&ARTIFACT, "attention_split_256_one"),
];
static ARTIFACT_BF16: Artifact = artifact!("attention_bf16_split", step);
static BF16: [Kernel; 4] = [
    Kernel::new(&ARTIFACT_BF16, "attention_bf16_split_32"),
    Kernel::new(&ARTIFACT_BF16, "attention_bf16_split_64"),
    Kernel::new(&ARTIFACT_BF16, "attention_bf16_split_128"),
    Kernel::new(&ARTIFACT_BF16, "attention_bf16_split_256"),
];

/// Chunks of a block, a warp each.
pub(super) const CHUNKS: usize = 4;

/// Vectors of a warp in bf16: the rows of a product of the matrix units.
pub(super) const VECTORS_BF16: usize = 16;

/// What chunks left for merging.
pub(super) struct Parts {
    /// `[N H, chunks, D]`
    pub(super) values: Buffer<f32>,
    /// `[N H, chunks]`: largest score, sum.
    pub(super) stats: Buffer<[f32; 2]>,
}

impl Parts {
    /// Room for so many parts of `width` columns.
    pub(super) fn new(cuda: &Cuda, count: usize, width: usize) -> Result<Self> {
        Ok(Self { values: cuda.buffer(count * width)?, stats: cuda.buffer(count)? })
    }
}

/// Launches the blocks of a plan, which have one vector a warp or several.
///
/// # Safety
/// That of [`Attention::run`]; where a row sees more than one chunk, `parts` has room for `chunks` of each row and head.
pub(super) unsafe fn split(
    cuda: &Cuda,
    (call, items, one): (&Attention<'_>, &Table<[i32; 4]>, bool),
    chunks: usize,
    (out, operand): (&mut Tensor, Option<&mut Operand>),
    parts: &mut Parts,
    extra: &Extra<'_>,
) -> Result<()> {
    let kernels = match call.paged.precision {
        Precision::F32 if one => &ONE,
        Precision::F32 => &SEVERAL,
        Precision::Bf16 => &BF16,
    };
    let launch = Launch::new(cuda, &kernels[instance(call.spec.head_dim)])
        .grid(items.len(), call.spec.kv_heads, 1)
        .block(CHUNKS * 32)
        .out(out.values_mut())
        .arg(extra.stats.as_ref().map_or(0, |s| s.address()))
        .out(&mut parts.values)
        .out(&mut parts.stats)
        .size(chunks);
    let launch = call.lay_out(call.arguments(launch, items.address(), extra), operand);
    // SAFETY: the caller's promise.
    unsafe { launch.run() }
}
