//! Recurrent layers over whole sequences or the next positions of them.

use crate::{
    Cpu,
    gemm::{Recurrent, Step},
    memory::{Buffer, Tensor},
};
use seq2seq_core::{Ragged, Result, Rows, backend::check, train::Recurred};
use std::cmp::Reverse;

/// Sequences longest first, so that those that still run are the first rows of the state.
pub(crate) fn longest_first(rows: &Ragged) -> Buffer<usize> {
    let mut order = Buffer::<usize>::scratch(rows.sequences());
    order.iter_mut().enumerate().for_each(|(i, place)| *place = i);
    order.sort_unstable_by_key(|&i| (Reverse(rows.length(i)), i));
    order
}

/// The layer over each sequence, all of them side by side, a position of each at a time. Gives the results, the last states
/// and, where `keep` is set, what training keeps.
pub(crate) fn recur(
    cpu: &Cpu,
    x: &Tensor,
    rows: &Ragged,
    layer: &Recurrent,
    state: Option<&Tensor>,
    keep: bool,
) -> Result<Recurred<Tensor>> {
    let shape = layer.shape();
    check::recur(x, rows, shape, state)?;
    let (sequences, width) = (rows.sequences(), shape.output());
    let order = longest_first(rows);

    let begin = |columns: std::ops::Range<usize>| {
        let mut vectors = Tensor::scratch(sequences, width);
        let stride = vectors.stride();
        for (vector, &i) in vectors.values_mut().chunks_exact_mut(stride).zip(&order[..]) {
            match state {
                Some(state) => vector[..width].copy_from_slice(&state.row(i)[columns.clone()]),
                None => vector[..width].fill(0.0),
            }
        }
        vectors
    };
    let mut before = begin(0..width);
    let mut cells = (shape.cell.vectors() == 2).then(|| begin(width..2 * width));
    let mut after = Tensor::scratch(sequences, width);
    let mut out = Tensor::scratch(x.rows(), width);
    let mut kept = keep.then(|| Tensor::scratch(x.rows(), shape.cell.kept() * width));
    let mut positions = Buffer::<usize>::scratch(2 * sequences);
    let (forwards, backwards) = positions.split_at_mut(sequences);
    for t in 0..rows.longest() {
        let live = order.partition_point(|&i| rows.length(i) > t);
        for (row, &i) in order[..live].iter().enumerate() {
            let range = rows.range(i);
            (forwards[row], backwards[row]) = (range.start + t, range.end - 1 - t);
        }
        let step = Step {
            x,
            before: &before,
            rows: [&forwards[..live], &backwards[..live]],
            out: &mut out,
            after: &mut after,
            cells: cells.as_mut(),
            kept: kept.as_mut(),
        };
        layer.step(cpu.threads(), step);
        std::mem::swap(&mut before, &mut after);
    }

    let mut end = Tensor::scratch(sequences, shape.state());
    let stride = end.stride();
    for (row, &i) in order.iter().enumerate() {
        let vectors = &mut end.values_mut()[i * stride..][..shape.state()];
        let range = rows.range(i);
        match (range.is_empty(), state) {
            (true, Some(state)) => vectors[..width].copy_from_slice(&state.row(i)[..width]),
            (true, None) => vectors[..width].fill(0.0),
            (false, _) => {
                // Where each direction ended.
                for (d, h) in vectors[..width].chunks_exact_mut(shape.width).enumerate() {
                    let last = if d == 0 { range.end - 1 } else { range.start };
                    h.copy_from_slice(&out.row(last)[d * shape.width..][..shape.width]);
                }
            }
        }
        if let Some(cells) = &cells {
            vectors[width..].copy_from_slice(cells.row(row));
        }
    }
    Ok(Recurred { y: out, end, kept })
}
