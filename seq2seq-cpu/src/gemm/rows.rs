//! Panels from a matrix that is given by blocks: weights for both directions, and the operands of gradients.
//!
//! A panel is filled 16 steps of the reduction at a time. In f32 the source writes into the panel itself; in bf16 into a
//! block that stays in the first cache, which is rounded and put in the order of the panel.

use super::{
    Linear,
    micro::{Layout, MAX_COLUMNS, MicroKernel, Weight},
    pack::BF16_LIMIT,
};
use crate::{
    isa::Isa,
    kernels::round::{round, round_pairs, within},
    memory::{Buffer, Chunks},
    threads::Threads,
};
use bytemuck::cast_slice_mut;
use seq2seq_core::{Format, backend::check::LinearShape};
use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

/// Steps of the reduction that are read at once.
const STEPS: usize = 16;

/// A matrix `[K, N]`.
pub(crate) trait Source: Sync {
    /// Steps of the reduction, K.
    fn steps(&self) -> usize;
    /// Columns, N.
    fn columns(&self) -> usize;
    /// Rows `steps`, columns `columns`, into the beginnings of rows of `out` that are `stride` values apart, by the
    /// instructions of `isa`.
    fn read(
        &self,
        isa: Isa,
        steps: Range<usize>,
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
    );
}

impl Linear {
    /// A layer of `input` by `output` weights, times `scale`, in f32 or bf16, to be filled.
    pub(crate) fn unfilled(
        isa: Isa,
        [input, output]: [usize; 2],
        scale: f32,
        format: Format,
    ) -> Self {
        let kernel = MicroKernel::select(isa, format);
        let layout = kernel.layout;
        let shape = LinearShape { input, product: output, output };
        let panels = output.div_ceil(layout.columns);
        let data = Buffer::<u8>::scratch(panels * layout.panel_bytes(layout.units(input)));
        let scale = vec![scale; panels * layout.columns];
        let bias = vec![0.0; panels * layout.columns];
        let width = layout.columns;
        Self { isa, kernel, shape, gated: false, panels, width, data, scale, bias }
    }

    /// The layer x · source, times `scale`. Values that are not finite are taken as they are.
    pub(crate) fn of_source(
        threads: &Threads,
        isa: Isa,
        source: &impl Source,
        scale: f32,
        format: Format,
    ) -> Self {
        let size = [source.steps(), source.columns()];
        let mut this = Self::unfilled(isa, size, scale, format);
        this.fill(threads, source);
        this
    }

    /// Packs a source of this layer's size; the layer is one of f32 or bf16 without a gate. False where a value is not
    /// finite, or would not be in the format.
    pub(crate) fn fill(&mut self, threads: &Threads, source: &impl Source) -> bool {
        let layout = self.kernel.layout;
        let panel_bytes = layout.panel_bytes(layout.units(self.shape.input)).max(1);
        let (isa, cost) = (self.isa, self.shape.input * layout.columns);
        let good = AtomicBool::new(true);
        threads.each_part(Chunks::new(&mut self.data[..], panel_bytes), cost, |panel, bytes| {
            let from = panel * layout.columns;
            let columns = from..source.columns().min(from + layout.columns);
            let finite = match layout.weight {
                Weight::F32 => {
                    fill_plain(source, columns, (isa, layout.columns), cast_slice_mut(bytes))
                }
                _ => fill_rounded(source, columns, (isa, layout), cast_slice_mut(bytes)),
            };
            if !finite {
                good.store(false, Ordering::Relaxed);
            }
        });
        good.into_inner()
    }

    /// The bias of some outputs of a layer without a gate.
    pub(crate) fn bias_mut(&mut self, outputs: Range<usize>) -> &mut [f32] {
        &mut self.bias[outputs]
    }
}

/// Fills a panel of f32 whose columns stand in their own order, one k a unit. False where a value is not finite.
fn fill_plain(
    source: &impl Source,
    columns: Range<usize>,
    (isa, width): (Isa, usize),
    panel: &mut [f32],
) -> bool {
    let mut finite = true;
    for (i, block) in panel.chunks_mut(STEPS * width).enumerate() {
        let steps = i * STEPS..i * STEPS + block.len() / width;
        if columns.len() < width {
            block.fill(0.0);
        }
        source.read(isa, steps, columns.clone(), block, width);
        finite &= within(isa, f32::MAX, block);
    }
    finite
}

/// Fills a panel of bf16. False where a value rounds to what is not finite.
fn fill_rounded(
    source: &impl Source,
    columns: Range<usize>,
    (isa, layout): (Isa, Layout),
    panel: &mut [u16],
) -> bool {
    let width = layout.columns;
    let mut block = [0.0f32; STEPS * MAX_COLUMNS];
    let mut finite = true;
    for (i, out) in panel.chunks_mut(STEPS * width).enumerate() {
        let steps = i * STEPS..source.steps().min((i + 1) * STEPS);
        let block = &mut block[..out.len()];
        // Behind the last step the unit is filled up with zeros.
        block[steps.len() * width..].fill(0.0);
        source.read(isa, steps, columns.clone(), block, width);
        finite &= within(isa, BF16_LIMIT.next_down(), block);
        match layout.pair() {
            Some(run) => round_pairs(isa, block, run, out),
            None => round(isa, block, out),
        }
    }
    finite
}
