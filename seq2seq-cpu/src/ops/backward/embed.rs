//! Lookups in masters.

use super::begun;
use crate::kernels::backward::sum::AddScaled;
use crate::memory::{Chunks, Tensor, Tiles};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::train::{Gradient, Looked};
use seq2seq_core::{Lookup, Result, Rows, backend::check};

/// Columns of a table's gradient that one worker adds up, over all rows in order.
const COLUMNS: usize = 64;

pub(super) fn forward(cpu: &Cpu, lookups: &[Lookup<'_, Tensor>]) -> Result<Tensor> {
    let [rows, width] = check::embed(lookups, |table| [table.rows(), table.width()])?;
    let mut out = Tensor::scratch(rows, width);
    cpu.threads().each_part(Chunks::<f32>::rows(&mut out), lookups.len() * width, |row, out| {
        let sum = &mut out[..width];
        for (i, lookup) in lookups.iter().enumerate() {
            let entry = lookup.table.row(lookup.ids[row] as usize);
            match i {
                0 => sum.iter_mut().zip(entry).for_each(|(s, e)| *s = e * lookup.scale),
                _ => sum.iter_mut().zip(entry).for_each(|(s, e)| *s += lookup.scale * e),
            }
        }
    });
    Ok(out)
}

pub(super) fn backward(
    cpu: &Cpu,
    looked: Looked<'_>,
    dy: &Tensor,
    table: &mut Gradient<Tensor>,
) -> Result<()> {
    check::embed_backward(looked, dy, table)?;
    let width = dy.width();
    let table = begun(cpu, table, [looked.table_rows, width]);
    let bounds = [0, looked.table_rows];
    let whole = width / COLUMNS;
    let cost = looked.ids.len() * COLUMNS;
    cpu.threads().each_part(Tiles::new(table, &bounds, whole, COLUMNS), cost, |i, mut tile| {
        for (n, &id) in looked.ids.iter().enumerate() {
            let x = &dy.row(n)[i * COLUMNS..(i + 1) * COLUMNS];
            let out = tile.row(id as usize);
            dispatch(cpu.isa(), AddScaled { out, x, factor: looked.scale });
        }
    });
    let stride = table.stride();
    let values = table.values_mut();
    for (n, &id) in looked.ids.iter().enumerate() {
        let x = &dy.row(n)[whole * COLUMNS..];
        let out = &mut values[id as usize * stride + whole * COLUMNS..][..x.len()];
        dispatch(cpu.isa(), AddScaled { out, x, factor: looked.scale });
    }
    Ok(())
}
