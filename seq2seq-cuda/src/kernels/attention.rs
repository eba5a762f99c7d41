//! Attention of sequences of any length: the launches of its kernels.
//!
//! In either precision two kernels give the same bits (`attention.cuh` and `attention_bf16.cuh` have the order of summation): one
//! takes tiles of rows, one spreads the keys of few rows over the device. Which of them runs is a matter of speed alone; the
//! precision is that of the keys and values at hand.

use super::angles::Angles;
use super::attention_plan::{Kind, Work};
use super::elementwise::drop_args;
use super::kv_store::CHUNK;
use super::linear::FEW_ROWS;
use super::operands::Operands;
use super::rows::Operand;
use super::{
    attention_bf16, attention_bf16_dropped, attention_dropped, attention_merge, attention_split,
};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Table, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::train::Dropout;
use seq2seq_core::{AttentionSpec, Precision, Rows};

static ARTIFACT: Artifact = artifact!("attention");
static TILED: [Kernel; WIDTHS.len()] = by_width!("attention", |name, instance| {
    Kernel::new(&ARTIFACT, name).with_shared(shared(instance, WIDTHS[instance]) as u32)
});

/// The kernels of all [`WIDTHS`], whose names end with them: what is made of each name and instance.
macro_rules! by_width {
    ($stem:literal, |$name:ident, $instance:pat_param| $kernel:expr) => {
        $crate::kernels::attention::by_width!(@ $stem, $name, $instance, $kernel, "_32" 0, "_64" 1, "_128" 2, "_256" 3)
    };
    (@ $stem:literal, $name:ident, $instance:pat_param, $kernel:expr, $($width:literal $i:literal),*) => {
        [$({
            let ($name, $instance) = (concat!($stem, $width), $i);
            $kernel
        }),*]
    };
}
pub(super) use by_width;

/// Head widths of the instances; those in between take the next one.
pub(super) const WIDTHS: [usize; 4] = [32, 64, 128, 256];
/// The widest head there is a kernel for.
pub(crate) const WIDEST: usize = WIDTHS[3];
/// Warps of a block and vectors of a warp, for each instance.
pub(super) const WARPS: [usize; 4] = [8, 8, 8, 4];
pub(super) const VECTORS: [usize; 4] = [8, 8, 8, 4];

/// Bytes of shared memory of a tile: queries, a chunk of keys or values, weights and two sums of each vector.
pub(super) const fn shared(instance: usize, width: usize) -> usize {
    let vectors = WARPS[instance] * VECTORS[instance];
    (vectors * width + CHUNK * width + vectors * (CHUNK + 2)) * size_of::<f32>()
}

/// The instance for heads of `width`.
pub(super) fn instance(width: usize) -> usize {
    WIDTHS.iter().position(|&w| width <= w).expect("checked: heads are at most 256 wide")
}

/// Pages of keys and values, as attention finds them.
#[derive(Clone, Copy)]
pub(crate) struct Paged<'a> {
    /// The address of the page of each chunk, or of each position; or its place in a block of memory.
    pub(crate) table: &'a Table<u64>,
    /// Whether it has one for each position.
    pub(crate) by_position: bool,
    /// Words before those of the layer: in a page, or from address 0 on where the table has places in a block.
    pub(crate) layer: i64,
    pub(crate) precision: Precision,
}

/// The bias of each head for each distance up to `reach`, either way: `[H, 2 reach + 1]`.
pub(crate) struct Bias<'a> {
    pub(crate) table: &'a Buffer<f32>,
    pub(crate) reach: usize,
}

/// Where scores go, for each row from `starts` on: `[H, keys]`.
pub(crate) struct Scores<'a> {
    pub(crate) values: &'a mut Buffer<f32>,
    pub(crate) starts: &'a Buffer<i64>,
}

/// One attention.
pub(crate) struct Attention<'a> {
    /// Queries in the first columns.
    pub(crate) q: &'a Tensor,
    pub(crate) spec: &'a AttentionSpec,
    pub(crate) causal: bool,
    pub(crate) work: &'a Work,
    pub(crate) paged: Paged<'a>,
    pub(crate) angles: Option<&'a Angles>,
    pub(crate) bias: Option<Bias<'a>>,
}

/// What is wanted besides the result: the largest score and the sum of each row and head, `[N, H]`, and all scores. Weights may be
/// dropped where the work is tiled for it (`Work::tiled`).
#[derive(Default)]
pub(crate) struct Extra<'a> {
    pub(crate) stats: Option<&'a mut Buffer<[f32; 2]>>,
    pub(crate) scores: Option<Scores<'a>>,
    pub(crate) dropout: Option<Dropout>,
}

impl Attention<'_> {
    /// The arguments that both kernels take after the queries.
    pub(super) fn arguments<'l>(
        &self,
        launch: Launch<'l>,
        items: u64,
        extra: &Extra<'_>,
    ) -> Launch<'l> {
        let (angles, pairs) = Angles::of(self.angles);
        let (bias, reach) = self.bias.as_ref().map_or((0, 0), |b| (b.table.address(), b.reach));
        let scores = extra.scores.as_ref();
        launch
            .arg(self.q.values())
            .size(self.q.width())
            .arg(&self.work.spans)
            .arg(items)
            .arg(self.paged.table)
            .arg(if self.paged.by_position { 0 } else { CHUNK.ilog2() as i32 })
            .arg(self.paged.layer)
            .arg(angles)
            .size(pairs)
            .arg(self.spec.scale)
            .arg(bias)
            .size(reach)
            .arg(scores.map_or(0, |s| s.values.address()))
            .arg(scores.map_or(0, |s| s.starts.address()))
            .size(self.spec.heads)
            .size(self.spec.kv_heads)
            .size(self.spec.head_dim)
            .arg(i32::from(self.causal))
    }

    /// The last arguments of kernels in bf16 that drop nothing: where results are laid out besides, for all rows. Those in f32 have none.
    pub(super) fn lay_out<'l>(
        &self,
        launch: Launch<'l>,
        operand: Option<&mut Operand>,
    ) -> Launch<'l> {
        let launch = match (self.paged.precision, operand) {
            (Precision::F32, None) => return launch,
            (Precision::F32, Some(_)) => panic!("f32 lays nothing out"),
            (Precision::Bf16, None) => launch.arg(0u64).arg(0i32),
            (Precision::Bf16, Some(operand)) => {
                let swizzled = operand.operands == Operands::Bf16Swizzled;
                launch.out(&mut operand.values).arg(i32::from(swizzled))
            }
        };
        launch.size(self.q.rows())
    }

    /// Where a linear layer has laid out what attention gave before, the result is laid out where it is made: in bf16, heads of
    /// whole eights of columns.
    fn laid_out(&self, cuda: &Cuda) -> Result<Option<Operand>> {
        let (rows, width) = (self.q.rows(), self.spec.inner());
        let wanted = cuda.attention_readers().wanted().filter(|operands| {
            let whole =
                width.is_multiple_of(operands.slab()) && self.spec.head_dim.is_multiple_of(8);
            operands.rounds_rows() && whole && rows > FEW_ROWS
        });
        wanted.map(|operands| Operand::unset(cuda, rows, width, operands)).transpose()
    }

    /// Runs it: `[N, H D]`.
    ///
    /// # Safety
    /// The pages in the table are allocated, hold the keys and values of all positions that rows see, and the angles reach
    /// as far as the rows' positions. The bias has a row for each head.
    pub(crate) unsafe fn run(&self, cuda: &Cuda, extra: Extra<'_>) -> Result<Tensor> {
        let mut out = cuda.tensor(self.q.rows(), self.spec.inner())?;
        // A pass that is trained on keeps its rows for the way back, and would keep what is laid out with them.
        let read = self.paged.precision == Precision::Bf16 && extra.stats.is_none();
        let mut operand = if read { self.laid_out(cuda)? } else { None };
        // SAFETY: the caller's promise.
        unsafe { self.run_into(cuda, (&mut out, operand.as_mut()), extra) }?;
        Ok(if read { out.for_readers(cuda.attention_readers(), operand) } else { out })
    }

    /// Runs it into a tensor and an operand; the latter in bf16 alone.
    ///
    /// # Safety
    /// That of `run`.
    unsafe fn run_into(
        &self,
        cuda: &Cuda,
        (out, mut operand): (&mut Tensor, Option<&mut Operand>),
        mut extra: Extra<'_>,
    ) -> Result<()> {
        assert!(self.work.suits(self.spec), "a plan for another shape");
        assert_eq!(self.work.precision(), self.paged.precision);
        let [rows, inner] = [self.q.rows(), self.spec.inner()];
        assert_eq!([rows, rows, inner], [self.work.rows, out.rows(), out.width()]);
        assert!(extra.stats.as_ref().is_none_or(|s| s.len() == rows * self.spec.heads));
        match &self.work.kind {
            Kind::Tiles { items, vectors } => {
                let (width, kind) = (self.spec.head_dim, instance(self.spec.head_dim));
                let (kernel, threads, bytes) = match self.paged.precision {
                    Precision::F32 => {
                        let tiled = if extra.dropout.is_some() {
                            &attention_dropped::TILED
                        } else {
                            &TILED
                        };
                        (&tiled[kind], WARPS[kind] * 32, shared(kind, width.next_multiple_of(4)))
                    }
                    Precision::Bf16 => {
                        let kernel = match extra.dropout {
                            Some(_) => {
                                assert_eq!(*vectors, attention_bf16_dropped::VECTORS);
                                attention_bf16_dropped::of(width)
                            }
                            None => attention_bf16::of(width, *vectors),
                        };
                        (kernel, attention_bf16::THREADS, kernel.shared as usize)
                    }
                };
                let launch = Launch::new(cuda, kernel)
                    .grid(items.len(), self.spec.kv_heads, 1)
                    .block(threads)
                    .shared(bytes)
                    .out(out.values_mut())
                    .arg(extra.stats.as_ref().map_or(0, |s| s.address()));
                let launch = self.arguments(launch, items.address(), &extra);
                let launch = match extra.dropout {
                    Some(_) => drop_args(launch, extra.dropout),
                    None => self.lay_out(launch, operand),
                };
                // SAFETY: plan, sizes and shared memory are of this shape; the rest is the caller's promise.
                unsafe { launch.run() }
            }
            Kind::Split { items, one } => {
                assert!(extra.dropout.is_none(), "weights are dropped in tiles");
                let merged = self.work.chunks > 1;
                let parts = if merged { rows * self.spec.heads * self.work.chunks } else { 0 };
                let mut parts = attention_split::Parts::new(cuda, parts, self.spec.head_dim)?;
                // SAFETY: parts are as many as the plan's chunks; the rest is the caller's promise.
                unsafe {
                    let call = (self, items, *one);
                    let to = (&mut *out, operand.as_deref_mut());
                    attention_split::split(cuda, call, self.work.chunks, to, &mut parts, &extra)?;
                }
                if merged {
                    let (to, stats) = ((out, operand), extra.stats.take());
                    attention_merge::merge(cuda, &parts, self, self.work.chunks, to, stats)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_take_the_next_instance() {
        assert_eq!([1, 32, 33, 64, 80, 128, 129, 256].map(instance), [0, 0, 1, 1, 2, 2, 3, 3]);
        let most = WIDTHS.map(|w| shared(instance(w), w));
        // What a block can have on every GPU from Ampere on.
        assert!(most.iter().all(|&bytes| bytes <= 99 << 10), "{most:?}");
    }
}
