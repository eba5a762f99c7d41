//! Attention within sequences and to a memory.

use crate::kernels::attention::{Angles, RelativeBias};
use crate::kernels::backward::attention::{Call, Unit};
use crate::memory::{Buffer, Chunks, Runs, Tensor, Tiles};
use crate::{Cpu, Memory, simd::dispatch};
use seq2seq_core::train::{AttendBackward, CrossBackward, Gradient, Wanted};
use seq2seq_core::{AttentionSpec, Ragged, Result, Rows, backend::check};
use std::ops::Range;

/// What the units of a call find: `[N, H D]`, and `[K, G D]` twice, K the keys of all sequences one after the other.
struct Found {
    dq: Tensor,
    dk: Tensor,
    dv: Tensor,
    /// For each unit (sequence, then key-value head) and head of its group: Σ ds by distance; empty without a bias.
    distances: Buffer<f32>,
}

/// Runs a unit for each sequence and key-value head. Sequence i has the queries `rows.range(i)` and reads the keys at
/// `keys(i)` of the source.
fn run(
    cpu: &Cpu,
    call: &Call<'_>,
    rows: &Ragged,
    keys: impl Fn(usize) -> Range<usize> + Sync,
) -> Found {
    let spec = call.spec;
    let (heads, group) = (spec.kv_heads, spec.heads / spec.kv_heads);
    let key_rows = Ragged::from_lengths((0..rows.sequences()).map(|i| keys(i).len()));
    let mut found = Found {
        dq: Tensor::scratch(rows.rows(), spec.inner()),
        dk: Tensor::scratch(key_rows.rows(), spec.kv_width()),
        dv: Tensor::scratch(key_rows.rows(), spec.kv_width()),
        distances: Buffer::zeroed(0),
    };
    let mut bounds = vec![0];
    if call.bias.is_some() {
        for i in 0..rows.sequences() * heads {
            let distances = (rows.length(i / heads) + keys(i / heads).len()).saturating_sub(1);
            bounds.push(bounds[i] + group * distances);
        }
        found.distances = Buffer::zeroed(bounds[bounds.len() - 1]);
    }
    let d = spec.head_dim;
    let tiles = (
        Tiles::new(&mut found.dq, rows.offsets(), heads, group * d),
        (
            Tiles::new(&mut found.dk, key_rows.offsets(), heads, d),
            Tiles::new(&mut found.dv, key_rows.offsets(), heads, d),
        ),
    );
    let distances = call.bias.map(|_| Runs::new(&mut found.distances[..], &bounds));
    let pairs: usize = (0..rows.sequences()).map(|i| rows.length(i) * keys(i).len()).sum();
    let cost = pairs * spec.inner() / (rows.sequences() * heads).max(1);
    cpu.threads().each_part((tiles, distances), cost, |i, ((dq, (dk, dv)), distances)| {
        let (rows, keys, kv_head) = (rows.range(i / heads), keys(i / heads), i % heads);
        dispatch(cpu.isa(), Unit { call, kv_head, rows, keys, dq, dk, dv, distances });
    });
    found
}

/// Puts parts of a row side by side into the rows of a gradient, added to what it holds.
fn join(
    cpu: &Cpu,
    gradient: &mut Gradient<Tensor>,
    (rows, width): (usize, usize),
    parts: &[&Tensor],
) {
    let add = gradient.is_some();
    let gradient = gradient.get_or_insert_with(|| Tensor::scratch(rows, width));
    cpu.threads().each_part(Chunks::<f32>::rows(gradient), width, |row, out| {
        let mut out = &mut out[..width];
        for part in parts {
            let (own, rest) = out.split_at_mut(part.width());
            match add {
                true => own.iter_mut().zip(part.row(row)).for_each(|(o, x)| *o += x),
                false => own.copy_from_slice(part.row(row)),
            }
            out = rest;
        }
    });
}

/// Adds what each distance found to its bucket: sequences in order, then rising distances.
fn add_table(
    cpu: &Cpu,
    gradient: &mut Gradient<Tensor>,
    (found, bias): (&Found, &RelativeBias),
    rows: &Ragged,
    spec: &AttentionSpec,
) {
    let buckets = bias.buckets();
    let table = super::begun(cpu, gradient, bias.shape());
    let stride = table.stride();
    let values = table.values_mut();
    let mut distances = &found.distances[..];
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
    let found = run(cpu, &call, of.rows, |i| of.rows.range(i));
    if let Some(gradient) = qkv {
        let size = (of.qkv.rows(), of.qkv.width());
        join(cpu, gradient, size, &[&found.dq, &found.dk, &found.dv]);
    }
    if let (Some(gradient), Some(bias)) = (table, of.bias) {
        add_table(cpu, gradient, (&found, bias), of.rows, of.spec);
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
    let found = run(cpu, &call, of.rows, |i| of.source_rows.range(of.sources[i]));
    if let Some(gradient) = q {
        join(cpu, gradient, (of.q.rows(), of.q.width()), &[&found.dq]);
    }
    let Some(gradient) = kv else { return Ok(()) };
    // Each source once, in order: the groups' keys are the sources' already.
    if of.sources.iter().copied().eq(0..of.source_rows.sequences()) {
        join(cpu, gradient, (of.kv.rows(), of.kv.width()), &[&found.dk, &found.dv]);
        return Ok(());
    }
    let (stride, width) = {
        let gradient = super::begun(cpu, gradient, [of.kv.rows(), of.kv.width()]);
        (gradient.stride(), of.spec.kv_width())
    };
    let values = super::begun(cpu, gradient, [of.kv.rows(), of.kv.width()]).values_mut();
    let mut from = 0;
    for &source in of.sources {
        for row in of.source_rows.range(source) {
            let out = &mut values[row * stride..][..2 * width];
            let terms = found.dk.row(from).iter().chain(found.dv.row(from));
            out.iter_mut().zip(terms).for_each(|(out, term)| *out += term);
            from += 1;
        }
    }
    Ok(())
}
