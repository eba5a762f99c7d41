//! Tensors put together from columns and from rows of others.

use crate::Cpu;
use crate::memory::{Chunks, Tensor};
use seq2seq_core::{Part, Result, backend::check};

pub(crate) fn columns(cpu: &Cpu, parts: &[Part<'_, Tensor>]) -> Result<Tensor> {
    let [rows, width] = check::columns(parts)?;
    let mut out = Tensor::scratch(rows, width);
    cpu.threads().each_part(Chunks::<f32>::rows(&mut out), width / 4, |row, out| {
        let mut rest = &mut out[..width];
        for Part { tensor, columns } in parts {
            let (run, next) = rest.split_at_mut(columns.len());
            run.copy_from_slice(&tensor.row(row)[columns.clone()]);
            rest = next;
        }
    });
    Ok(out)
}

pub(crate) fn stack_rows(parts: &[&Tensor]) -> Result<Tensor> {
    let [rows, width] = check::stack_rows(parts)?;
    let mut out = Tensor::scratch(rows, width);
    let mut rest = out.values_mut();
    for part in parts {
        let (run, next) = rest.split_at_mut(part.values().len());
        run.copy_from_slice(part.values());
        rest = next;
    }
    Ok(out)
}
