//! Attention of a decoder to an encoder's output.

use super::attention::{Whole, check_width};
use crate::Cuda;
use crate::kept::Kept;
use crate::kernels::attention::{Attention, Extra, Paged, Scores};
use crate::kernels::attention_plan::{Shape, Span, Work};
use crate::kernels::attention_weights;
use crate::memory::{Buffer, Tensor};
use seq2seq_core::train::Dropout;
use seq2seq_core::{AttentionSpec, Error, Precision, Ragged, Result, Rows, backend::check};
use std::sync::Arc;

/// Keys and values of the source sequences in the device's memory.
///
/// Sources are of any length, and of none:
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{AttentionSpec, Backend, CrossAttentionOps, HostTensor, Precision, Ragged};
/// use seq2seq_cuda::Memory;
///
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Key and value of each position of the first source; the second has none.
/// let kv = cuda.upload(&HostTensor::from_f32(vec![2, 2], &[0.0, 4.0, 3.0f32.ln(), 8.0])?)?;
/// let memory: Memory = cuda.memory(&kv, &Ragged::from_lengths([2, 0]), &spec)?;
/// let q = cuda.upload(&HostTensor::from_f32(vec![2, 1], &[1.0, 1.0])?)?;
/// let y = cuda.cross_attend(&q, &Ragged::single_rows(2), &memory, &[0, 1], &spec, None)?;
/// let y = cuda.download(&y)?;
/// assert!((y[0] - 7.0).abs() < 1e-5 && y[1] == 0.0); // 1/4 of 4 and 3/4 of 8
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct Memory {
    rows: Ragged,
    kv_heads: usize,
    head_dim: usize,
    held: Whole,
    /// Most steps of a decoding ask with as many rows of the same sources as the step before: they upload nothing.
    plan: Kept<Plan>,
}

/// How rows of queries attend to sources, on the device.
struct Plan {
    rows: Ragged,
    sources: Vec<usize>,
    /// Whether weights may be dropped.
    drops: bool,
    work: Work,
}

pub(crate) fn memory(
    cuda: &Cuda,
    kv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
) -> Result<Memory> {
    check::memory(kv, rows, spec)?;
    check_width(spec.head_dim)?;
    let held = Whole::new(cuda, (kv, 0), rows, spec, None)?;
    let (kv_heads, head_dim) = (spec.kv_heads, spec.head_dim);
    Ok(Memory { rows: rows.clone(), kv_heads, head_dim, held, plan: Kept::default() })
}

impl Memory {
    /// Fails where queries do not fit.
    pub(crate) fn check(
        &self,
        q: &Tensor,
        rows: &Ragged,
        sources: &[usize],
        spec: &AttentionSpec,
    ) -> Result<()> {
        let held = (self.rows.sequences(), self.kv_heads, self.head_dim);
        check::cross_attend(q, rows, sources, spec, held)
    }

    /// Neighbours with one source, such as the beams of a sequence, are one span while their rows are few: its keys and values are
    /// read once for them.
    fn spans(&self, rows: &Ragged, sources: &[usize], spec: &AttentionSpec) -> Vec<Span> {
        let span = |(range, &source): (std::ops::Range<usize>, &usize)| Span {
            first_row: range.start,
            rows: range.len(),
            position: 0,
            keys: self.rows.length(source),
            pages: self.held.starts()[source],
        };
        joined(
            rows.ranges().zip(sources).map(span),
            Shape::new(spec, self.held.precision()).few_rows(),
        )
    }

    /// The plan for these rows: the last one where it was for the same.
    fn plan(
        &self,
        cuda: &Cuda,
        rows: &Ragged,
        sources: &[usize],
        spec: &AttentionSpec,
        drops: bool,
    ) -> Result<Arc<Plan>> {
        let same = |p: &Plan| {
            (&p.rows, &p.sources[..], p.drops) == (rows, sources, drops) && p.work.suits(spec)
        };
        self.plan.get(cuda, same, || {
            let kind = (self.held.precision(), false);
            let plan = if drops { Work::tiled } else { Work::new };
            let work = plan(cuda, &self.spans(rows, sources, spec), spec, kind)?;
            Ok(Plan { rows: rows.clone(), sources: sources.to_vec(), drops, work })
        })
    }

    fn attention<'a>(
        &'a self,
        q: &'a Tensor,
        spec: &'a AttentionSpec,
        work: &'a Work,
    ) -> Attention<'a> {
        let paged = self.held.paged();
        Attention { q, spec, causal: false, work, paged, angles: None, bias: None }
    }

    /// Fails where a pass that is trained on in f32 finds it rounded.
    fn check_trained(&self, spec: &AttentionSpec) -> Result<()> {
        match (spec.precision, self.held.precision()) {
            (Precision::F32, Precision::Bf16) => Err(Error::invalid(
                "cross_attend_forward",
                "the memory is not that of a pass that is trained on in f32 (`TrainBackend::trained_attention`)",
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn precision(&self) -> Precision {
        self.held.precision()
    }

    /// Its pages, for the way back to these sources.
    pub(crate) fn paged(&self, rows: &Ragged, spec: &AttentionSpec) -> Result<Paged<'_>> {
        match (&self.rows, self.kv_heads, self.head_dim) == (rows, spec.kv_heads, spec.head_dim) {
            true => Ok(self.held.paged()),
            false => {
                let reason = "the memory is of other sources, or heads, than the gradient";
                Err(Error::invalid("cross_attend_backward", reason))
            }
        }
    }
}

pub(crate) fn cross_attend(
    cuda: &Cuda,
    (q, rows): (&Tensor, &Ragged),
    (memory, sources): (&Memory, &[usize]),
    spec: &AttentionSpec,
    weights: Option<&mut Vec<f32>>,
) -> Result<Tensor> {
    memory.check(q, rows, sources, spec)?;
    if q.rows() == 0 {
        return Ok(cuda.tensor(0, spec.inner())?);
    }
    let plan = memory.plan(cuda, rows, sources, spec, false)?;
    let work = &plan.work;
    let call = memory.attention(q, spec, work);
    let Some(weights) = weights else {
        // SAFETY: every position of every source was stored when the memory was made.
        return Ok(unsafe { call.run(cuda, Extra::default()) }?);
    };
    let (starts, count) = starts(&memory.spans(rows, sources, spec), spec.heads);
    let mut values: Buffer<f32> = cuda.buffer(count)?;
    let starts = cuda.upload_values(&starts)?;
    let mut stats = cuda.buffer(q.rows() * spec.heads)?;
    let scores = Scores { values: &mut values, starts: &starts };
    // SAFETY: as above; `values` has room for what each row sees, and each score is written before it is read.
    let out = unsafe {
        let extra = Extra { stats: Some(&mut stats), scores: Some(scores), dropout: None };
        let out = call.run(cuda, extra)?;
        let scores = Scores { values: &mut values, starts: &starts };
        attention_weights::weights(cuda, scores, &stats, work, spec.heads)?;
        out
    };
    weights.extend(values.download()?);
    Ok(out)
}

/// For a pass that is trained on: the result, and the statistics of each row and head, `[N, H]`.
pub(crate) fn cross_attend_trained(
    cuda: &Cuda,
    (q, rows): (&Tensor, &Ragged),
    (memory, sources): (&Memory, &[usize]),
    spec: &AttentionSpec,
    dropout: Option<Dropout>,
) -> Result<(Tensor, Buffer<[f32; 2]>)> {
    memory.check(q, rows, sources, spec)?;
    memory.check_trained(spec)?;
    let mut stats = cuda.buffer(q.rows() * spec.heads)?;
    if q.rows() == 0 {
        return Ok((cuda.tensor(0, spec.inner())?, stats));
    }
    let plan = memory.plan(cuda, rows, sources, spec, dropout.is_some())?;
    let extra = Extra { stats: Some(&mut stats), scores: None, dropout };
    // SAFETY: every position of every source was stored when the memory was made.
    let out = unsafe { memory.attention(q, spec, &plan.work).run(cuda, extra) }?;
    Ok((out, stats))
}

/// Spans of up to `most` rows in place of neighbours with the same keys.
fn joined(spans: impl Iterator<Item = Span>, most: usize) -> Vec<Span> {
    let mut all: Vec<Span> = Vec::new();
    for span in spans {
        match all.last_mut() {
            Some(last)
                if (last.pages, last.keys) == (span.pages, span.keys)
                    && last.rows + span.rows <= most =>
            {
                last.rows += span.rows;
            }
            _ => all.push(span),
        }
    }
    all
}

/// Where the weights of each row begin, and how many there are in all.
fn starts(spans: &[Span], heads: usize) -> (Vec<i64>, usize) {
    let mut count = 0;
    let mut starts = Vec::new();
    for span in spans {
        for _ in 0..span.rows {
            starts.push(count as i64);
            count += heads * span.keys;
        }
    }
    (starts, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_with_one_source_are_one_span() {
        let span =
            |first_row, rows, keys, pages| Span { first_row, rows, position: 0, keys, pages };
        let spans = [
            span(0, 1, 9, 0),
            span(1, 2, 9, 0),
            span(3, 2, 9, 0),
            span(5, 1, 9, 1),
            span(6, 1, 0, 2),
            span(7, 1, 5, 2),
        ];
        let wanted = [
            span(0, 3, 9, 0),
            span(3, 2, 9, 0),
            span(5, 1, 9, 1),
            span(6, 1, 0, 2),
            span(7, 1, 5, 2),
        ];
        assert_eq!(joined(spans.into_iter(), 4), wanted);
    }

    #[test]
    fn weights_follow_each_other() {
        let span = |rows, keys| Span { first_row: 0, rows, position: 0, keys, pages: 0 };
        assert_eq!(
            starts(&[span(2, 3), span(0, 5), span(1, 0), span(1, 4)], 2),
            (vec![0, 6, 12, 12], 20)
        );
    }
}
