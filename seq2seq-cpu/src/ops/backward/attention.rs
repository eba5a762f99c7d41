//! Attention within sequences and to a memory.

use crate::kernels::attention::{Angles, RelativeBias};
use crate::kernels::backward::attention::{Call, Unit};
use crate::memory::{Buffer, Runs, Tensor, Tiles};
use crate::{Cpu, Memory, simd::dispatch};
use seq2seq_core::train::{AttendBackward, CrossBackward, Gradient, Wanted};
use seq2seq_core::{AttentionSpec, Ragged, Result, Rows, backend::check};
use std::ops::Range;

/// Where the units of a call write: the gradients of queries, keys and values.
type Targets<'a> = (Tiles<'a>, (Tiles<'a>, Tiles<'a>));

/// Runs a unit for each sequence and key-value head. Sequence i has the queries `rows.range(i)` and reads the keys at
/// `keys(i)` of the source. Gives, with a bias, Σ ds by distance for each unit (sequence, then key-value head) and head of its
/// group.
fn run(
    cpu: &Cpu,
    call: &Call<'_>,
    rows: &Ragged,
    keys: impl Fn(usize) -> Range<usize> + Sync,
    targets: Targets<'_>,
) -> Buffer<f32> {
    let spec = call.spec;
    let (heads, group) = (spec.kv_heads, spec.heads / spec.kv_heads);
    let (mut found, mut bounds) = (Buffer::zeroed(0), vec![0]);
    if call.bias.is_some() {
        for i in 0..rows.sequences() * heads {
            let distances = (rows.length(i / heads) + keys(i / heads).len()).saturating_sub(1);
            bounds.push(bounds[i] + group * distances);
        }
        found = Buffer::zeroed(bounds[bounds.len() - 1]);
    }
    let distances = call.bias.map(|_| Runs::new(&mut found[..], &bounds));
    let pairs: usize = (0..rows.sequences()).map(|i| rows.length(i) * keys(i).len()).sum();
    let cost = pairs * spec.inner() / (rows.sequences() * heads).max(1);
    cpu.threads().each_part((targets, distances), cost, |i, ((dq, (dk, dv)), distances)| {
        let (rows, keys, kv_head) = (rows.range(i / heads), keys(i / heads), i % heads);
        dispatch(cpu.isa(), Unit { call, kv_head, rows, keys, dq, dk, dv, distances });
    });
    found
}

/// Adds what each distance found to its bucket: sequences in order, then rising distances.
fn add_table(
    cpu: &Cpu,
    gradient: &mut Gradient<Tensor>,
    (mut distances, bias): (&[f32], &RelativeBias),
    rows: &Ragged,
    spec: &AttentionSpec,
) {
    let buckets = bias.buckets();
    let table = super::begun(cpu, gradient, bias.shape());
    let stride = table.stride();
    let values = table.values_mut();
    for i in 0..rows.sequences() {
        let length = rows.length(i);
        let count = (2 * length).saturating_sub(1);
        for head in 0..spec.heads {
            let (own, rest) = distances.split_at(count);
            for (at, ds) in own.iter().enumerate() {
                let distance = at as isize + 1 - length as isize;
                values[buckets.bucket(distance) * stride + head] += ds;
            }
            distances = rest;
        }
    }
}

pub(super) fn attend_backward(
    cpu: &Cpu,
    of: &AttendBackward<'_, Tensor, RelativeBias>,
    qkv: Wanted<'_, Tensor>,
    table: Wanted<'_, Tensor>,
) -> Result<()> {
    check::attend_backward(of, of.bias.map(RelativeBias::shape), (&qkv, &table))?;
    let angles = of.spec.rotary.as_ref().map(|r| Angles::new(cpu.threads(), r, of.rows, |_| 0));
    let call = Call {
        queries: of.qkv,
        source: of.qkv,
        column: of.spec.inner(),
        y: of.y,
        dy: of.dy,
        log_sums: of.log_sums,
        spec: of.spec,
        causal: of.spec.causal,
        angles: angles.as_ref(),
        bias: of.bias,
        dropout: of.dropout,
    };
    let (heads, d) = (of.spec.kv_heads, of.spec.head_dim);
    let mut found = Tensor::scratch(of.qkv.rows(), of.qkv.width());
    let columns = [(heads, of.spec.heads / heads * d), (heads, d), (heads, d)];
    let [dq, dk, dv] = Tiles::beside(&mut found, of.rows.offsets(), columns);
    let distances = run(cpu, &call, of.rows, |i| of.rows.range(i), (dq, (dk, dv)));
    if let Some(gradient) = qkv {
        super::add(cpu, found, gradient);
    }
    if let (Some(gradient), Some(bias)) = (table, of.bias) {
        add_table(cpu, gradient, (&distances, bias), of.rows, of.spec);
    }
    Ok(())
}

pub(super) fn cross_attend_backward(
    cpu: &Cpu,
    of: &CrossBackward<'_, Tensor, Memory>,
    q: Wanted<'_, Tensor>,
    kv: Wanted<'_, Tensor>,
) -> Result<()> {
    check::cross_attend_backward(of, (&q, &kv))?;
    let call = Call {
        queries: of.q,
        source: of.kv,
        column: 0,
        y: of.y,
        dy: of.dy,
        log_sums: of.log_sums,
        spec: of.spec,
        causal: false,
        angles: None,
        bias: None,
        dropout: of.dropout,
    };
    let keys = |i: usize| of.source_rows.range(of.sources[i]);
    let key_rows = Ragged::from_lengths((0..of.rows.sequences()).map(|i| keys(i).len()));
    let (heads, d) = (of.spec.kv_heads, of.spec.head_dim);
    let mut dq = Tensor::scratch(of.q.rows(), of.q.width());
    let mut dkv = Tensor::scratch(key_rows.rows(), of.kv.width());
    let [dk, dv] = Tiles::beside(&mut dkv, key_rows.offsets(), [(heads, d); 2]);
    let tiles = Tiles::new(&mut dq, of.rows.offsets(), heads, of.spec.heads / heads * d);
    run(cpu, &call, of.rows, keys, (tiles, (dk, dv)));
    if let Some(gradient) = q {
        super::add(cpu, dq, gradient);
    }
    let Some(gradient) = kv else { return Ok(()) };
    // Each source once, in order: the groups' keys are the sources' already.
    if of.sources.iter().copied().eq(0..of.source_rows.sequences()) {
        super::add(cpu, dkv, gradient);
        return Ok(());
    }
    let gradient = super::begun(cpu, gradient, [of.kv.rows(), of.kv.width()]);
    let (stride, width) = (gradient.stride(), of.kv.width());
    let (values, mut from) = (gradient.values_mut(), 0);
    for &source in of.sources {
        for row in of.source_rows.range(source) {
            let out = &mut values[row * stride..][..width];
            out.iter_mut().zip(dkv.row(from)).for_each(|(out, term)| *out += term);
            from += 1;
        }
    }
    Ok(())
}
