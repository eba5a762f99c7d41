//! Panels from a matrix whose rows are the steps of the reduction: gradients' operands, and weights the other way round.
//!
//! Row k of the source holds the weights of all columns at step k, so a panel of one k a unit is the source cut into
//! stripes, and one of two k takes two rows in turn.

use super::{
    Linear,
    micro::{Layout, MAX_COLUMNS, MicroKernel, Weight},
};
use crate::{
    isa::Isa,
    kernels::round::round,
    memory::{Buffer, Chunks},
    threads::Threads,
};
use bytemuck::{Pod, cast_slice_mut};
use seq2seq_core::{Format, backend::check::LinearShape};

/// A matrix by its rows.
pub(crate) trait RowSource: Sync {
    /// Steps of the reduction, K.
    fn steps(&self) -> usize;
    /// Columns, N.
    fn columns(&self) -> usize;
    /// Columns `from` to `from + out.len()` of row `k`.
    fn read(&self, k: usize, from: usize, out: &mut [f32]);
}

impl Linear {
    /// The layer x · source, times `scale`, in f32 or bf16. Values that are not finite are taken as they are.
    pub(crate) fn of_rows(
        threads: &Threads,
        isa: Isa,
        source: &impl RowSource,
        scale: f32,
        format: Format,
    ) -> Self {
        let kernel = MicroKernel::select(isa, format);
        let layout = kernel.layout;
        let (input, output) = (source.steps(), source.columns());
        let shape = LinearShape { input, product: output, output };
        let panels = output.div_ceil(layout.columns);
        let data = Buffer::<u8>::scratch(panels * layout.panel_bytes(layout.units(input)));
        let scale = vec![scale; panels * layout.columns];
        let bias = vec![0.0; panels * layout.columns];
        let width = layout.columns;
        let mut this = Self { isa, kernel, shape, gated: false, panels, width, data, scale, bias };
        this.fill(threads, source);
        this
    }

    /// Packs another source of the same size.
    pub(crate) fn fill(&mut self, threads: &Threads, source: &impl RowSource) {
        let layout = self.kernel.layout;
        let panel_bytes = layout.panel_bytes(layout.units(self.shape.input)).max(1);
        let (isa, cost) = (self.isa, 2 * self.shape.input * layout.columns);
        threads.each_part(Chunks::new(&mut self.data[..], panel_bytes), cost, |panel, bytes| {
            let from = panel * layout.columns;
            match layout.weight {
                Weight::F32 => stripes(source, from, layout, bytes, |line, out: &mut [f32]| {
                    out.copy_from_slice(line);
                }),
                _ => stripes(source, from, layout, bytes, |line, out: &mut [u16]| {
                    round(isa, line, out);
                }),
            }
        });
    }
}

/// Fills a panel with the columns from `from` on: each line converted, then unit by unit.
fn stripes<T: Pod>(
    source: &impl RowSource,
    from: usize,
    layout: Layout,
    panel: &mut [u8],
    convert: impl Fn(&[f32], &mut [T]),
) {
    let (columns, unit) = (layout.columns, layout.unit);
    let held = columns.min(source.columns() - from);
    let mut line = [0.0f32; MAX_COLUMNS];
    let mut converted = [[T::zeroed(); MAX_COLUMNS]; 4];
    let plain = unit == 1 && (0..columns).all(|i| layout.column_at(i) == i);
    for (u, out) in cast_slice_mut::<u8, T>(panel).chunks_exact_mut(columns * unit).enumerate() {
        for (i, converted) in converted[..unit].iter_mut().enumerate() {
            let k = u * unit + i;
            match k < source.steps() {
                true => source.read(k, from, &mut line[..held]),
                false => line.fill(0.0),
            }
            convert(&line[..columns], &mut converted[..columns]);
        }
        if plain {
            out.copy_from_slice(&converted[0][..columns]);
            continue;
        }
        for (place, out) in out.chunks_exact_mut(unit).enumerate() {
            let column = layout.column_at(place);
            out.iter_mut().zip(&converted).for_each(|(out, line)| *out = line[column]);
        }
    }
}
