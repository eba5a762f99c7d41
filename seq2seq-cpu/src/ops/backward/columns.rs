//! Columns side by side and rows one below the other, taken apart again.

use crate::kernels::backward::sum::AddScaled;
use crate::memory::{Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::train::Gradient;
use seq2seq_core::{Result, Rows, backend::check};
use std::ops::Range;

/// Adds a run of each row of `dy` to a run of the same row of the gradient, or begins one.
fn add_runs(
    cpu: &Cpu,
    gradient: &mut Gradient<Tensor>,
    [rows, width]: [usize; 2],
    columns: Range<usize>,
    run: impl Fn(usize) -> Range<usize> + Sync,
    dy: &Tensor,
) {
    let add = gradient.is_some();
    let gradient = gradient.get_or_insert_with(|| Tensor::scratch(rows, width));
    cpu.threads().each_part(Chunks::<f32>::rows(gradient), width / 4, |row, out| {
        let x = &dy.values()[run(row)];
        if add {
            let out = &mut out[columns.clone()];
            return dispatch(cpu.isa(), AddScaled { out, x, factor: 1.0 });
        }
        out[..columns.start].fill(0.0);
        out[columns.clone()].copy_from_slice(x);
        out[columns.end..width].fill(0.0);
    });
}

pub(super) fn columns_backward(
    cpu: &Cpu,
    dy: &Tensor,
    from: usize,
    (width, columns): (usize, Range<usize>),
    gradient: &mut Gradient<Tensor>,
) -> Result<()> {
    check::columns_backward(dy, from, (width, &columns), gradient)?;
    let run = |row: usize| {
        let start = row * dy.stride() + from;
        start..start + columns.len()
    };
    add_runs(cpu, gradient, [dy.rows(), width], columns.clone(), run, dy);
    Ok(())
}

pub(super) fn stack_rows_backward(
    cpu: &Cpu,
    dy: &Tensor,
    rows: Range<usize>,
    gradient: &mut Gradient<Tensor>,
) -> Result<()> {
    check::stack_rows_backward(dy, &rows, gradient)?;
    let width = dy.width();
    let run = |row: usize| {
        let start = (rows.start + row) * dy.stride();
        start..start + width
    };
    add_runs(cpu, gradient, [rows.len(), width], 0..width, run, dy);
    Ok(())
}
