//! Attention, within sequences and to a memory: the one definition of its backward.

use super::{Real, Tensor, add_wanted, kept, numbers};
use crate::backend::check;
use crate::reference::attention::{Query, RelativeBias, Seen, scores, softmax, split};
use crate::reference::cross::Memory;
use crate::train::{AttendBackward, CrossBackward, Dropout, Wanted};
use crate::{AttentionSpec, Ragged, Result, Rotary, Rows};

/// Attention of query row `n`, `[H, D]`, with dropout: appends the result and ln Σ e^score of each head.
fn row(
    (q, n, position): (&[f32], usize, usize),
    seen: &Seen<'_>,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
    dropout: Option<Dropout>,
    (out, log_sums): (&mut Vec<f32>, &mut Vec<f32>),
) {
    for h in 0..spec.heads {
        let scores = scores(Query { q, h, position }, seen, spec, bias);
        let mut sums = vec![0.0; spec.head_dim];
        for (j, p) in softmax(&scores).iter().enumerate() {
            let p = p * kept::<f64>(dropout, n * spec.heads + h, j);
            let v = Seen::head(seen.values, j, h, spec);
            sums.iter_mut().zip(v).for_each(|(sum, &v)| *sum += p * f64::from(v));
        }
        out.extend(sums.iter().map(|&sum| sum as f32));
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
        log_sums.push(if scores.is_empty() {
            f32::NEG_INFINITY
        } else {
            (largest + total.ln()) as f32
        });
    }
}

pub(super) fn attend(
    qkv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
    dropout: Option<Dropout>,
) -> Result<(Tensor, Tensor)> {
    check::dropout(dropout)?;
    check::attend(qkv, rows, spec, bias.map(RelativeBias::heads))?;
    let (mut out, mut log_sums) = (Vec::new(), Vec::new());
    for range in rows.ranges() {
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (position, n) in range.clone().enumerate() {
            let (q, k, v) = split(qkv.row(n), position, spec);
            queries.push(q);
            keys.extend(k);
            values.extend(v);
        }
        for (position, (q, n)) in queries.iter().zip(range.clone()).enumerate() {
            let len = if spec.causal { position + 1 } else { range.len() };
            let seen = Seen { keys: &keys, values: &values, len };
            let to = (&mut out, &mut log_sums);
            row((q, n, position), &seen, spec, bias, dropout, to);
        }
    }
    let n = qkv.rows();
    Ok((Tensor::new(n, spec.inner(), out), Tensor::new(n, spec.heads, log_sums)))
}

pub(super) fn cross_attend(
    q: &Tensor,
    rows: &Ragged,
    memory: &Memory,
    sources: &[usize],
    spec: &AttentionSpec,
    dropout: Option<Dropout>,
) -> Result<(Tensor, Tensor)> {
    check::dropout(dropout)?;
    memory.check(q, rows, sources, spec)?;
    let (mut out, mut log_sums) = (Vec::new(), Vec::new());
    for (range, &source) in rows.ranges().zip(sources) {
        let seen = memory.seen(source, spec);
        for n in range {
            row((q.row(n), n, 0), &seen, spec, None, dropout, (&mut out, &mut log_sums));
        }
    }
    Ok((Tensor::new(q.rows(), spec.inner(), out), Tensor::new(q.rows(), spec.heads, log_sums)))
}

/// Rotates the vector of one head to `position`, or, where `back`, from it: the transposed rotation.
fn rotate<R: Real>(rotary: &Rotary, position: usize, head: &mut [R], back: bool) {
    let half = rotary.inv_freq.len();
    for (j, &frequency) in rotary.inv_freq.iter().enumerate() {
        let angle = f64::from(position as f32 * frequency);
        let scale = R::exact(rotary.scale.into());
        let [cos, sin] = R::cos_sin(if back { -angle } else { angle }).map(|v| v.times(scale));
        let (a, b) = (head[j], head[j + half]);
        head[j] = a.times(cos).minus(b.times(sin));
        head[j + half] = b.times(cos).plus(a.times(sin));
    }
}

/// Queries that see keys and values, all not yet rotated.
pub(crate) struct Operands<'a, R> {
    /// `[T, H, D]`
    pub(crate) q: Vec<R>,
    /// `[S, G, D]`
    pub(crate) k: Vec<R>,
    /// `[S, G, D]`
    pub(crate) v: Vec<R>,
    /// `[T, H, D]`
    pub(crate) dy: Vec<R>,
    pub(crate) spec: &'a AttentionSpec,
    pub(crate) causal: bool,
    pub(crate) bias: Option<&'a RelativeBias>,
    pub(crate) dropout: Option<Dropout>,
    /// The first query's row in the batch.
    pub(crate) first: usize,
}

/// The gradients of queries, keys and values; adds to `table` the terms of the gradient of each bucket and head.
pub(crate) fn gradients<R: Real>(of: Operands<'_, R>, table: &mut [Vec<R>]) -> [Vec<R>; 3] {
    let Operands { mut q, mut k, v, dy, spec, causal, bias, dropout, first } = of;
    let (d, groups, precision) = (spec.head_dim, spec.heads / spec.kv_heads, spec.precision);
    if let Some(rotary) = &spec.rotary {
        for (x, width) in [(&mut q, spec.inner()), (&mut k, spec.kv_width())] {
            for (position, row) in x.chunks_mut(width).enumerate() {
                row.chunks_mut(d).for_each(|head| rotate(rotary, position, head, false));
            }
        }
    }
    // What is multiplied may have been rounded, queries when they have been scaled.
    let factors =
        |x: Vec<R>, by| -> Vec<R> { x.into_iter().map(|x| x.factor(precision, by)).collect() };
    let (q, k, v, dy) =
        (factors(q, spec.scale.into()), factors(k, 1.0), factors(v, 1.0), factors(dy, 1.0));
    let (queries, keys) = (q.len() / spec.inner(), k.len() / spec.kv_width());
    let scale = R::exact(spec.scale.into());
    let head = |x: &[R], heads: usize, row: usize, h: usize| -> Vec<R> {
        x[(row * heads + h) * d..][..d].to_vec()
    };
    let (mut dq, mut dk, mut dv) =
        (vec![Vec::new(); q.len()], vec![Vec::new(); k.len()], vec![Vec::new(); v.len()]);
    for (i, h) in (0..queries).flat_map(|i| (0..spec.heads).map(move |h| (i, h))) {
        let g = h / groups;
        let (q, dy) = (head(&q, spec.heads, i, h), head(&dy, spec.heads, i, h));
        let seen = if causal { i + 1 } else { keys };
        let mask = |j| kept::<R>(dropout, (first + i) * spec.heads + h, j);
        let dot = |a: &[R], b: Vec<R>| R::dot(a.iter().copied().zip(b));
        let score = |j| {
            let dot = dot(&q, head(&k, spec.kv_heads, j, g)).times(scale);
            bias.map_or(dot, |b| dot.plus(R::exact(b.at(h, i, j).into())))
        };
        let p = R::softmax(&(0..seen).map(score).collect::<Vec<_>>());
        let dp: Vec<R> =
            (0..seen).map(|j| dot(&dy, head(&v, spec.kv_heads, j, g)).times(mask(j))).collect();
        let share = |j: usize| p[j].times(mask(j)).factor(precision, 1.0);
        // Σ p dp is also dy · y; an implementation may take either, so the sum is over all products.
        let terms = (0..seen).flat_map(|j| {
            let share = share(j);
            let v = head(&v, spec.kv_heads, j, g);
            dy.iter().zip(v).map(|(dy, v)| dy.times(v).times(share)).collect::<Vec<_>>()
        });
        let along = R::sum(&terms.collect::<Vec<_>>());
        for j in 0..seen {
            let ds = p[j].times(dp[j].minus(along)).factor(precision, 1.0);
            let (k, share, by) = (head(&k, spec.kv_heads, j, g), share(j), ds.times(scale));
            for c in 0..d {
                let (query, key) = ((i * spec.heads + h) * d + c, (j * spec.kv_heads + g) * d + c);
                dq[query].push(by.times(k[c]));
                dk[key].push(by.times(q[c]));
                dv[key].push(share.times(dy[c]));
            }
            if let Some(bias) = bias {
                table[bias.place(h, i, j)].push(ds);
            }
        }
    }
    let sums = |terms: Vec<Vec<R>>| -> Vec<R> { terms.iter().map(|t| R::sum(t)).collect() };
    let (mut dq, mut dk, dv) = (sums(dq), sums(dk), sums(dv));
    if let Some(rotary) = &spec.rotary {
        for (x, width) in [(&mut dq, spec.inner()), (&mut dk, spec.kv_width())] {
            for (position, row) in x.chunks_mut(width).enumerate() {
                row.chunks_mut(d).for_each(|head| rotate(rotary, position, head, true));
            }
        }
    }
    [dq, dk, dv]
}

/// Columns `columns` of rows `rows` of `[N, width]`.
pub(crate) fn part<R: Copy>(
    x: &[R],
    width: usize,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) -> Vec<R> {
    rows.flat_map(|n| &x[n * width..][columns.clone()]).copied().collect()
}

/// The gradients of `[N, (H + 2 G) D]` and of the table, `[buckets, H]`, which is empty without a bias.
pub(crate) fn attended<R: Real>(
    qkv: &[R],
    dy: &[R],
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
    dropout: Option<Dropout>,
) -> [Vec<R>; 2] {
    let (width, inner, kv) = (spec.qkv_width(), spec.inner(), spec.kv_width());
    let mut table = vec![Vec::new(); bias.map_or(0, |b| b.shape()[0] * b.shape()[1])];
    let mut out = Vec::with_capacity(qkv.len());
    for range in rows.ranges() {
        let columns = |columns| part(qkv, width, range.clone(), columns);
        let [dq, dk, dv] = gradients(
            Operands {
                q: columns(0..inner),
                k: columns(inner..inner + kv),
                v: columns(inner + kv..width),
                dy: part(dy, inner, range.clone(), 0..inner),
                spec,
                causal: spec.causal,
                bias,
                dropout,
                first: range.start,
            },
            &mut table,
        );
        for ((dq, dk), dv) in dq.chunks(inner).zip(dk.chunks(kv)).zip(dv.chunks(kv)) {
            out.extend(dq.iter().chain(dk).chain(dv));
        }
    }
    [out, table.iter().map(|terms| R::sum(terms)).collect()]
}

pub(super) fn attend_backward(
    of: &AttendBackward<'_, Tensor, RelativeBias>,
    qkv: Wanted<'_, Tensor>,
    table: Wanted<'_, Tensor>,
) -> Result<()> {
    let shape = of.bias.map(RelativeBias::shape);
    check::attend_backward(of, shape, (&qkv, &table))?;
    let (x, dy) = (numbers::<f64>(of.qkv), numbers::<f64>(of.dy));
    let [dqkv, dtable] = attended(&x, &dy, of.rows, of.spec, of.bias, of.dropout);
    add_wanted(qkv, of.qkv.rows(), of.qkv.width(), &dqkv);
    let [buckets, heads] = shape.unwrap_or_default();
    add_wanted(table, buckets, heads, &dtable);
    Ok(())
}

/// Groups of queries and the sources that they attend to.
pub(crate) struct Groups<'a> {
    pub(crate) rows: &'a Ragged,
    pub(crate) sources: &'a [usize],
    pub(crate) source_rows: &'a Ragged,
}

/// The gradients of `[N, H D]` and of `[S, 2 G D]`.
pub(crate) fn crossed<R: Real>(
    [q, kv, dy]: [&[R]; 3],
    groups: &Groups<'_>,
    spec: &AttentionSpec,
    dropout: Option<Dropout>,
) -> [Vec<R>; 2] {
    let (inner, width) = (spec.inner(), spec.kv_width());
    let mut dq = Vec::with_capacity(q.len());
    let mut dkv = vec![Vec::new(); kv.len()];
    for (range, &source) in groups.rows.ranges().zip(groups.sources) {
        let positions = groups.source_rows.range(source);
        let columns = |columns| part(kv, 2 * width, positions.clone(), columns);
        let operands = Operands {
            q: part(q, inner, range.clone(), 0..inner),
            k: columns(0..width),
            v: columns(width..2 * width),
            dy: part(dy, inner, range.clone(), 0..inner),
            spec,
            causal: false,
            bias: None,
            dropout,
            first: range.start,
        };
        let [q, k, v] = gradients(operands, &mut []);
        dq.extend(q);
        for (n, (k, v)) in positions.zip(k.chunks(width).zip(v.chunks(width))) {
            for (i, g) in k.iter().chain(v).enumerate() {
                dkv[n * 2 * width + i].push(*g);
            }
        }
    }
    [dq, dkv.iter().map(|terms| R::sum(terms)).collect()]
}

pub(super) fn cross_attend_backward(
    of: &CrossBackward<'_, Tensor, Memory>,
    q: Wanted<'_, Tensor>,
    kv: Wanted<'_, Tensor>,
) -> Result<()> {
    check::cross_attend_backward(of, (&q, &kv))?;
    let numbers = [of.q, of.kv, of.dy].map(numbers::<f64>);
    let groups = Groups { rows: of.rows, sources: of.sources, source_rows: of.source_rows };
    let [dq, dkv] = crossed(numbers.each_ref().map(Vec::as_slice), &groups, of.spec, of.dropout);
    add_wanted(q, of.q.rows(), of.q.width(), &dq);
    add_wanted(kv, of.kv.rows(), of.kv.width(), &dkv);
    Ok(())
}
