//! Tensors put together from columns and from rows of others.

use crate::Cpu;
use crate::memory::{Buffer, Chunks, Runs, Tensor};
use seq2seq_core::{Part, Result, Rows, backend::check};

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

pub(crate) fn stack_rows(cpu: &Cpu, parts: &[&Tensor]) -> Result<Tensor> {
    let [rows, width] = check::stack_rows(parts)?;
    let mut out = Tensor::scratch(rows, width);
    // Of one width, so of one stride: each part is copied whole, with the gaps between its rows.
    let mut bounds = Buffer::<usize>::scratch(parts.len() + 1);
    let (stride, mut end) = (out.stride(), 0);
    for (bound, part) in bounds.iter_mut().zip(parts) {
        *bound = end;
        end += part.rows() * stride;
    }
    bounds[parts.len()] = end;
    let cost = rows * width / 4 / parts.len();
    cpu.threads().each_part(Runs::new(out.values_mut(), &bounds), cost, |i, out| {
        out.copy_from_slice(parts[i].values());
    });
    Ok(out)
}
