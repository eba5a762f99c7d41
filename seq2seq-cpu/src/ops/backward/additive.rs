//! Additive attention.

use super::begun;
use crate::kernels::backward::additive::{Columns, Group, Scores, Values};
use crate::memory::{self, Chunks, Tensor, Tiles};
use crate::ops::additive::{Additive, AdditiveMemory, attend_rows};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::train::{AdditiveBackward, AdditiveGradients};
use seq2seq_core::{Ragged, Result, Rows, backend::check};

/// Columns that one worker takes over all rows.
const COLUMNS: usize = 32;

/// Where runs of columns begin, and where the last ends.
fn bounds(width: usize) -> Vec<usize> {
    (0..width).step_by(COLUMNS).chain([width]).collect()
}

pub(super) fn renew(held: &mut Additive, v: &Tensor) -> Result<()> {
    check::renew_additive(held.v().len(), v)?;
    held.v_mut().copy_from_slice(v.row(0));
    Ok(())
}

pub(super) fn forward(
    cpu: &Cpu,
    q: &Tensor,
    groups: (&Ragged, &[usize]),
    v: &Additive,
    memory: &AdditiveMemory,
) -> Result<(Tensor, Tensor)> {
    let mut weights = Tensor::scratch(q.rows(), memory.parts().0.longest());
    let y = attend_rows(cpu, q, groups, v, memory, Some(&mut weights))?;
    Ok((y, weights))
}

pub(super) fn backward(
    cpu: &Cpu,
    of: &AdditiveBackward<'_, Tensor, Additive, AdditiveMemory>,
    gradients: AdditiveGradients<'_, Tensor>,
) -> Result<()> {
    let (source_rows, keys, values) = of.memory.parts();
    let (v, longest) = (of.v.v(), source_rows.longest());
    let held = (source_rows.sequences(), longest);
    check::additive_attend_backward(of, v.len(), (keys, values), held, &gradients)?;
    let AdditiveGradients { q: dq, keys: dkeys, values: dvalues, v: dv } = gradients;
    let ranges = of.rows.ranges().zip(of.sources);
    let groups: Vec<Group> =
        ranges.map(|(rows, &source)| (rows, source_rows.range(source))).collect();
    let pairs: usize = groups.iter().map(|(rows, source)| rows.len() * source.len()).sum();
    if let Some(gradient) = dvalues {
        let dvalues = begun(cpu, gradient, [values.rows(), values.width()]);
        // The values of a source lie together; four parts of their columns keep threads busy where sources are few.
        let width = values.width();
        let columns = if width.is_multiple_of(4 * COLUMNS) { 4 } else { 1 };
        let (bounds, part) = (source_rows.offsets(), width / columns);
        let parts = Tiles::new(dvalues, bounds, columns, part);
        let cost = pairs * width / (source_rows.sequences() * columns).max(1);
        cpu.threads().each_part(parts, cost, |i, dvalues| {
            let readers = of.rows.ranges().zip(of.sources).filter(|(_, s)| **s == i / columns);
            let queries = readers.map(|(rows, _)| rows);
            let (weights, dy, from) = (of.weights, of.dy, i % columns * part);
            dispatch(cpu.isa(), Values { weights, dy, queries, from, dvalues });
        });
    }
    if dq.is_none() && dkeys.is_none() && dv.is_none() {
        return Ok(());
    }
    let ds = scores(cpu, of, values, &groups);
    // Where nobody wants a gradient it is computed all the same: the tanh is what takes time.
    let (mut no_q, mut no_keys, mut no_v) = (None, None, None);
    let dq = begun(cpu, dq.unwrap_or(&mut no_q), [of.q.rows(), v.len()]);
    let dkeys = begun(cpu, dkeys.unwrap_or(&mut no_keys), [keys.rows(), v.len()]);
    let dv = begun(cpu, dv.unwrap_or(&mut no_v), [1, v.len()]);
    let bounds = bounds(v.len());
    let columns = |x| memory::Columns::new(x, &bounds);
    let parts = (columns(dq), (columns(dkeys), columns(dv)));
    // A tanh takes as long as some twenty simple steps.
    cpu.threads().each_part(parts, 20 * pairs * COLUMNS, |i, (dq, (dkeys, dv))| {
        let (q, ds, groups, from) = (of.q, &ds, &groups[..], bounds[i]);
        dispatch(cpu.isa(), Columns { q, keys, v, ds, groups, from, dq, dkeys, dv });
    });
    Ok(())
}

/// The gradients of the scores, `[N, longest source]`.
fn scores(
    cpu: &Cpu,
    of: &AdditiveBackward<'_, Tensor, Additive, AdditiveMemory>,
    values: &Tensor,
    groups: &[Group],
) -> Tensor {
    let mut ds = Tensor::scratch(of.q.rows(), of.weights.width());
    let cost = of.weights.width() * values.width();
    let owner = |n: usize| groups.partition_point(|(rows, _)| rows.end <= n);
    cpu.threads().each_part(Chunks::<f32>::rows(&mut ds), cost, |n, ds| {
        let source = groups[owner(n)].1.clone();
        let weights = &of.weights.row(n)[..source.len()];
        let ds = &mut ds[..source.len()];
        dispatch(cpu.isa(), Scores { dy: of.dy.row(n), values, source, weights, ds });
    });
    ds
}
