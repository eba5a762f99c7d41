//! Choosing rows, and one row a sequence.

use crate::Cpu;
use crate::memory::{Chunks, Tensor};
use seq2seq_core::{Pool, Ragged, Result, Rows, backend::check};

pub(crate) fn gather_rows(cpu: &Cpu, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
    check::gather_rows(x, rows)?;
    let mut out = Tensor::scratch(rows.len(), x.width());
    cpu.threads().each_part(Chunks::<f32>::rows(&mut out), x.width() / 4, |i, out| {
        out[..x.width()].copy_from_slice(x.row(rows[i]));
    });
    Ok(out)
}

pub(crate) fn pool(cpu: &Cpu, x: &Tensor, rows: &Ragged, pool: Pool) -> Result<Tensor> {
    check::pool(x, rows)?;
    let mut out = Tensor::scratch(rows.sequences(), x.width());
    let cost = x.width() * (x.rows() / rows.sequences().max(1));
    cpu.threads().each_part(Chunks::<f32>::rows(&mut out), cost, |i, out| {
        let range = rows.range(i);
        let out = &mut out[..x.width()];
        match pool {
            Pool::First => out.copy_from_slice(x.row(range.start)),
            Pool::Last => out.copy_from_slice(x.row(range.end - 1)),
            Pool::Mean => {
                let count = range.len() as f32;
                out.fill(0.0);
                for row in range {
                    out.iter_mut().zip(x.row(row)).for_each(|(sum, v)| *sum += v);
                }
                out.iter_mut().for_each(|sum| *sum /= count);
            }
        }
    });
    Ok(out)
}
