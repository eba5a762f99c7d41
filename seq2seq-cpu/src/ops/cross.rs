//! Attention of a decoder to an encoder's output.

use super::attention::{Group, Kept, Sequences, Source, run};
use crate::Cpu;
use crate::kernels::attention::{Call, Layout};
use crate::memory::Tensor;
use seq2seq_core::{AttentionSpec, Error, Ragged, Result, Rows, backend::check, train::Dropout};

/// Keys and values of the source sequences, laid out once for a whole decoding.
///
/// ```
/// use seq2seq_core::{AttentionSpec, Backend, CrossAttentionOps, HostTensor, Precision, Ragged};
/// use seq2seq_cpu::{Cpu, CpuOptions, Memory};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Key and value of each position of two sources, of two positions and one.
/// let kv = HostTensor::from_f32(vec![3, 2], &[0.0, 4.0, 3.0f32.ln(), 8.0, 0.0, 9.0])?;
/// let memory: Memory = cpu.memory(&cpu.upload(&kv)?, &Ragged::from_lengths([2, 1]), &spec)?;
///
/// // Three hypotheses, the first two of them of the first source.
/// let q = cpu.upload(&HostTensor::from_f32(vec![3, 1], &[0.0, 1.0, 1.0])?)?;
/// let (rows, mut weights) = (Ragged::single_rows(3), Vec::new());
/// let y = cpu.cross_attend(&q, &rows, &memory, &[0, 0, 1], &spec, Some(&mut weights))?;
/// let close = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-5);
/// assert!(close(&cpu.download(&y)?, &[6.0, 7.0, 9.0]));
/// assert!(weights.len() == 5 && close(&weights, &[0.5, 0.5, 0.25, 0.75, 1.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Memory {
    held: Sequences,
    rows: Ragged,
    kv_heads: usize,
    head_dim: usize,
}

pub(crate) fn memory(
    cpu: &Cpu,
    kv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
) -> Result<Memory> {
    check::memory(kv, rows, spec)?;
    let layout = Layout::new(cpu.isa(), spec.precision, spec.head_dim);
    let source = Source { x: kv, column: 0, angles: None };
    let held = Sequences::new(cpu, &source, rows, (spec, layout));
    let (kv_heads, head_dim) = (spec.kv_heads, spec.head_dim);
    Ok(Memory { held, rows: rows.clone(), kv_heads, head_dim })
}

/// One call: which rows attend to which sources.
#[derive(Clone, Copy)]
struct Cross<'a> {
    rows: &'a Ragged,
    memory: &'a Memory,
    sources: &'a [usize],
}

impl<'a> Cross<'a> {
    fn call(self, q: &'a Tensor, spec: &'a AttentionSpec, dropout: Option<Dropout>) -> Call<'a> {
        let layout = self.memory.held.layout;
        Call { queries: q, spec, causal: false, angles: None, bias: None, layout, dropout }
    }

    /// Neighbours with one source, such as the beams of a sequence, form one group: they read its keys and values once.
    fn groups(self) -> impl Iterator<Item = Group> + Clone + 'a {
        let Self { rows, memory, sources } = self;
        let mut next = 0;
        std::iter::from_fn(move || {
            let first = next;
            let &held = sources.get(first)?;
            next += sources[first..].iter().take_while(|&&source| source == held).count();
            let rows = rows.range(first).start..rows.range(next - 1).end;
            Some(Group { rows, position: 0, len: memory.rows.length(held), held })
        })
    }
}

/// With what the way back needs.
pub(crate) fn cross_attend_forward(
    cpu: &Cpu,
    q: &Tensor,
    (rows, sources): (&Ragged, &[usize]),
    memory: &Memory,
    spec: &AttentionSpec,
    dropout: Option<Dropout>,
) -> Result<(Tensor, Tensor)> {
    let held = (memory.rows.sequences(), memory.kv_heads, memory.head_dim);
    check::cross_attend(q, rows, sources, spec, held)?;
    let cross = Cross { rows, memory, sources };
    if memory.held.layout.numbers > 1 {
        let reason = "the memory is not that of a pass that is trained on (`TrainBackend::trained_attention`)";
        return Err(Error::invalid("cross_attend_forward", reason));
    }
    let call = cross.call(q, spec, dropout);
    let mut log_sums = Tensor::scratch(q.rows(), spec.heads);
    let kept = Kept { log_sums: Some(&mut log_sums), ..Kept::default() };
    let y = run(cpu, &call, cross.groups(), kept, |i, head| memory.held.of(i, head));
    Ok((y, log_sums))
}

pub(crate) fn cross_attend(
    cpu: &Cpu,
    q: &Tensor,
    (rows, sources): (&Ragged, &[usize]),
    memory: &Memory,
    spec: &AttentionSpec,
    weights: Option<&mut Vec<f32>>,
) -> Result<Tensor> {
    let held = (memory.rows.sequences(), memory.kv_heads, memory.head_dim);
    check::cross_attend(q, rows, sources, spec, held)?;
    memory.held.layout.check("cross_attend", cpu.isa())?;
    let cross = Cross { rows, memory, sources };
    let call = cross.call(q, spec, None);
    let of = |i, head| memory.held.of(i, head);
    let Some(weights) = weights else {
        return Ok(run(cpu, &call, cross.groups(), Kept::default(), of));
    };
    let longest = cross.groups().map(|g| g.len).max().unwrap_or(0);
    let mut padded = Tensor::scratch(q.rows(), spec.heads * longest);
    let kept = Kept { weights: Some(&mut padded), ..Kept::default() };
    let out = run(cpu, &call, cross.groups(), kept, of);
    for Group { rows, len, .. } in cross.groups() {
        for row in rows {
            let heads = padded.row(row).chunks_exact((call.group() * longest).max(1));
            heads.for_each(|run| weights.extend_from_slice(&run[..call.group() * len]));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CpuOptions;
    use seq2seq_core::{HostTensor, Precision};

    #[test]
    fn beams_of_one_source_form_a_group() {
        let cpu = Cpu::new(CpuOptions { threads: Some(1), isa: None }).unwrap();
        let spec = AttentionSpec {
            heads: 1,
            kv_heads: 1,
            head_dim: 1,
            scale: 1.0,
            causal: false,
            rotary: None,
            dropout: 0.0,
            precision: Precision::F32,
        };
        let kv = HostTensor::from_f32(vec![5, 2], &[1.0; 10]).unwrap();
        let kv = crate::ops::embed::upload(&cpu, &kv).unwrap();
        let memory = memory(&cpu, &kv, &Ragged::from_lengths([3, 2]), &spec).unwrap();
        let rows = Ragged::from_lengths([1, 2, 0, 1]);
        let groups = |sources: &[usize]| -> Vec<_> {
            Cross { rows: &rows, memory: &memory, sources }.groups().collect()
        };
        let group = |rows, len, held| Group { rows, position: 0, len, held };
        assert_eq!(groups(&[1, 1, 0, 0]), [group(0..3, 2, 1), group(3..4, 3, 0)]);
        assert_eq!(groups(&[0, 0, 0, 0]), [group(0..4, 3, 0)]);
    }
}
