//! Attention forward with dropout, and back.

use super::{add, zeros};
use crate::kernels::angles::Angles;
use crate::kernels::attention_back::{Pass, Seen, rotate};
use crate::memory::Tensor;
use crate::ops::attention::attend;
use crate::ops::columns::stack_rows;
use crate::ops::cross::cross_attend;
use crate::{Cuda, Memory, RelativeBias};
use seq2seq_core::backend::check;
use seq2seq_core::train::{AttendBackward, CrossBackward, Dropout, Wanted};
use seq2seq_core::{AttentionSpec, HostTensor, Ragged, Result, Rows};
use std::ops::Range;

/// Takes over a table that has changed.
pub(crate) fn renew_relative_bias(
    cuda: &Cuda,
    bias: &mut RelativeBias,
    table: &Tensor,
) -> Result<()> {
    check::renew_relative_bias(table, bias.shape())?;
    let shape = vec![table.rows(), table.width()];
    let host = HostTensor::from_f32(shape, &table.values().download()?)?;
    *bias = RelativeBias::new(cuda, &host, bias.spec())?;
    Ok(())
}

/// What rows of whole sequences see, and where they stand.
fn within(cuda: &Cuda, rows: &Ragged, causal: bool) -> Result<Seen> {
    let span = |range: Range<usize>| {
        range.clone().map(move |n| range.start..if causal { n + 1 } else { range.end })
    };
    let spans: Vec<_> = rows.ranges().flat_map(span).collect();
    let places: Vec<usize> = rows.ranges().flat_map(|range| 0..range.len()).collect();
    Ok(Seen::new(cuda, &spans, &places)?)
}

/// A copy of `qkv` whose queries and keys are rotated; and the angles.
fn rotated(
    cuda: &Cuda,
    qkv: &Tensor,
    rows: &Ragged,
    (spec, seen): (&AttentionSpec, &Seen),
) -> Result<Option<(Tensor, Angles)>> {
    let Some(rotary) = &spec.rotary else { return Ok(None) };
    let angles = Angles::new(cuda, rotary, rows.longest())?;
    let mut copy = stack_rows(cuda, &[qkv])?;
    let heads = (spec.heads + spec.kv_heads, spec.head_dim);
    rotate(cuda, (&angles, false), seen, heads, &mut copy)?;
    Ok(Some((copy, angles)))
}

pub(crate) fn attend_forward(
    cuda: &Cuda,
    qkv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
    dropout: Option<Dropout>,
) -> Result<(Tensor, Tensor)> {
    check::dropout(dropout)?;
    check::attend(qkv, rows, spec, bias.map(RelativeBias::heads))?;
    let seen = within(cuda, rows, spec.causal)?;
    let turned = rotated(cuda, qkv, rows, (spec, &seen))?;
    let x = turned.as_ref().map_or(qkv, |(x, _)| x);
    let pass = Pass { q: x, kv: x, keys: spec.inner(), spec, seen: &seen, dropout };
    let (p, log_sums) = pass.probabilities(cuda, bias.map(RelativeBias::bias))?;
    let y = match dropout {
        Some(_) => pass.dropped(cuda, &p)?,
        None => attend(cuda, qkv, rows, spec, bias)?,
    };
    Ok((y, log_sums))
}

pub(crate) fn attend_backward(
    cuda: &Cuda,
    of: &AttendBackward<'_, Tensor, RelativeBias>,
    qkv: Wanted<'_, Tensor>,
    table: Wanted<'_, Tensor>,
) -> Result<()> {
    check::attend_backward(of, of.bias.map(RelativeBias::shape), (&qkv, &table))?;
    let (spec, rows) = (of.spec, of.rows);
    let seen = within(cuda, rows, spec.causal)?;
    let turned = rotated(cuda, of.qkv, rows, (spec, &seen))?;
    let x = turned.as_ref().map_or(of.qkv, |(x, _)| x);
    let pass = Pass { q: x, kv: x, keys: spec.inner(), spec, seen: &seen, dropout: of.dropout };
    let (p, _) = pass.probabilities(cuda, of.bias.map(RelativeBias::bias))?;
    let ds = pass.scores(cuda, &p, of.dy)?;
    if let Some(gradient) = qkv {
        let mut dx = cuda.tensor(x.rows(), x.width())?;
        let sources: Vec<usize> =
            rows.ranges().enumerate().flat_map(|(s, range)| range.map(move |_| s)).collect();
        pass.query(cuda, &ds, &mut dx)?;
        pass.keys(cuda, (&p, &ds), of.dy, (rows, &sources), &mut dx)?;
        if let Some((_, angles)) = &turned {
            let heads = (spec.heads + spec.kv_heads, spec.head_dim);
            rotate(cuda, (angles, true), &seen, heads, &mut dx)?;
        }
        add(cuda, dx, gradient)?;
    }
    if let (Some(gradient), Some(bias)) = (table, of.bias) {
        let [buckets, heads] = bias.shape();
        let table = super::begun(cuda, gradient, [buckets, heads])?;
        let spec = bias.spec();
        pass.table(cuda, &ds, |distance| spec.bucket(distance), (table, true))?;
    }
    Ok(())
}

/// What rows of groups see of their sources, and the source of each.
fn across(
    cuda: &Cuda,
    (rows, sources): (&Ragged, &[usize]),
    source_rows: &Ragged,
) -> Result<(Seen, Vec<usize>)> {
    let of = |(range, &source): (Range<usize>, &usize)| range.map(move |_| source);
    let sources: Vec<usize> = rows.ranges().zip(sources).flat_map(of).collect();
    let spans: Vec<_> = sources.iter().map(|&s| source_rows.range(s)).collect();
    Ok((Seen::new(cuda, &spans, &vec![0; spans.len()])?, sources))
}

pub(crate) fn cross_attend_forward(
    cuda: &Cuda,
    (q, rows): (&Tensor, &Ragged),
    (memory, sources): (&Memory, &[usize]),
    spec: &AttentionSpec,
    dropout: Option<Dropout>,
) -> Result<(Tensor, Tensor)> {
    check::dropout(dropout)?;
    memory.check(q, rows, sources, spec)?;
    let (seen, _) = across(cuda, (rows, sources), memory.rows())?;
    let kv = memory.dense(cuda, spec)?;
    let pass = Pass { q, kv: &kv, keys: 0, spec, seen: &seen, dropout };
    let (p, log_sums) = pass.probabilities(cuda, None)?;
    let y = match dropout {
        Some(_) => pass.dropped(cuda, &p)?,
        None => cross_attend(cuda, (q, rows), (memory, sources), spec, None)?,
    };
    Ok((y, log_sums))
}

pub(crate) fn cross_attend_backward(
    cuda: &Cuda,
    of: &CrossBackward<'_, Tensor, Memory>,
    q: Wanted<'_, Tensor>,
    kv: Wanted<'_, Tensor>,
) -> Result<()> {
    check::cross_attend_backward(of, (&q, &kv))?;
    let (seen, sources) = across(cuda, (of.rows, of.sources), of.source_rows)?;
    let pass =
        Pass { q: of.q, kv: of.kv, keys: 0, spec: of.spec, seen: &seen, dropout: of.dropout };
    let (p, _) = pass.probabilities(cuda, None)?;
    let ds = pass.scores(cuda, &p, of.dy)?;
    if let Some(gradient) = q {
        let mut dq = zeros(cuda, of.q.rows(), of.q.width())?;
        pass.query(cuda, &ds, &mut dq)?;
        add(cuda, dq, gradient)?;
    }
    if let Some(gradient) = kv {
        let mut dkv = cuda.tensor(of.kv.rows(), of.kv.width())?;
        pass.keys(cuda, (&p, &ds), of.dy, (of.source_rows, &sources), &mut dkv)?;
        add(cuda, dkv, gradient)?;
    }
    Ok(())
}
