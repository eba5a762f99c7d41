//! Uploading, downloading, and looking up rows of tables.

use crate::Cpu;
use crate::memory::{Chunks, Tensor};
use seq2seq_core::{HostTensor, Lookup, Result, Rows, backend::check};

/// A table as it came: rows are converted when they are looked up, so pages of a mapped file that nobody asks for are
/// never read.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Lookup};
/// use seq2seq_cpu::{Cpu, CpuOptions, Embedding};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let table = |values: &[f32]| cpu.embedding(&HostTensor::from_f32(vec![3, 2], values)?);
/// let tokens: Embedding = table(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// let positions: Embedding = table(&[0.25, 0.0, 0.5, 0.0, 0.75, 0.0])?;
///
/// let ids = Lookup { table: &tokens, ids: &[2, 0], scale: 10.0 };
/// let places = Lookup { table: &positions, ids: &[0, 1], scale: 1.0 };
/// assert_eq!(cpu.download(&cpu.embed(&[ids, places])?)?, [50.25, 60.0, 10.5, 20.0]);
///
/// // An id outside its table is an error.
/// assert!(cpu.embed(&[Lookup { table: &tokens, ids: &[3], scale: 1.0 }]).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Embedding {
    table: HostTensor,
    shape: [usize; 2],
}

pub(crate) fn embedding(table: &HostTensor) -> Result<Embedding> {
    Ok(Embedding { shape: check::embedding(table)?, table: table.clone() })
}

impl Embedding {
    fn read(&self, row: u32, out: &mut [f32]) {
        self.table.read_f32(row as usize * self.shape[1], out);
    }
}

pub(crate) fn embed(cpu: &Cpu, lookups: &[Lookup<'_, Embedding>]) -> Result<Tensor> {
    let [rows, width] = check::embed(lookups, |table| table.shape)?;
    let mut out = Tensor::scratch(rows, width);
    cpu.threads().each_part(Chunks::<f32>::rows(&mut out), lookups.len() * width, |row, out| {
        let sum = &mut out[..width];
        for (i, lookup) in lookups.iter().enumerate() {
            let id = lookup.ids[row];
            match i {
                0 => {
                    lookup.table.read(id, sum);
                    sum.iter_mut().for_each(|s| *s *= lookup.scale);
                }
                _ => add(lookup, id, sum),
            }
        }
    });
    Ok(out)
}

/// sum += scale · table\[id\]
fn add(lookup: &Lookup<'_, Embedding>, id: u32, sum: &mut [f32]) {
    let Embedding { table, shape } = lookup.table;
    let start = id as usize * shape[1];
    let mut part = [0.0; 64];
    for (i, sum) in sum.chunks_mut(part.len()).enumerate() {
        let part = &mut part[..sum.len()];
        table.read_f32(start + i * 64, part);
        sum.iter_mut().zip(part).for_each(|(s, p)| *s += lookup.scale * *p);
    }
}

pub(crate) fn upload(cpu: &Cpu, host: &HostTensor) -> Result<Tensor> {
    let [rows, width] = check::upload(host)?;
    let mut out = Tensor::scratch(rows, width);
    cpu.threads().each_part(Chunks::<f32>::rows(&mut out), width, |row, out| {
        host.read_f32(row * width, &mut out[..width]);
    });
    Ok(out)
}

pub(crate) fn download(x: &Tensor) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.rows() * x.width());
    (0..x.rows()).for_each(|row| out.extend_from_slice(x.row(row)));
    out
}
