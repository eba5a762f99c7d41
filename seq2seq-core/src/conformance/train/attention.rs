//! Attention within sequences and to a memory.

use super::super::attention::{Case as Forward, Kind};
use super::super::precision::{precision, represent};
use super::super::tolerance::Approx;
use super::super::values::{Profile, values};
use super::super::{Outcome, bits, cross, each, fail, groups, host, within};
use super::{added, begun, dropout, gradient_values};
use crate::reference::backward::attention::{Groups, attended, crossed};
use crate::reference::{Reference, real::Real};
use crate::train::{AttendBackward, CrossBackward, Dropout, Gradient, TrainBackend};
use crate::{AttentionSpec, BucketSpec, Precision, Ragged, Result};
use proptest::prelude::*;

const HEADS: [(usize, usize); 6] = [(1, 1), (2, 2), (3, 1), (4, 2), (5, 5), (6, 3)];
const HEAD_DIMS: [usize; 9] = [1, 2, 7, 8, 10, 15, 16, 20, 33];

fn short() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![1 => Just(0usize), 2 => Just(1), 6 => 2..=12usize, 2 => 15..=20usize]
}

/// An attention within sequences and its way back.
#[derive(Debug, Clone)]
struct Case {
    forward: Forward,
    dropout: Option<Dropout>,
}

fn cases() -> BoxedStrategy<Case> {
    let heads = proptest::sample::select(&HEADS[..]);
    let head_dim = proptest::sample::select(&HEAD_DIMS[..]);
    let buckets = (proptest::sample::select(&[4usize, 6, 32][..]), 4..=40usize, any::<bool>())
        .prop_map(|(buckets, max_distance, bidirectional)| BucketSpec {
            buckets,
            max_distance: max_distance.max(buckets),
            bidirectional,
        });
    let positions = (any::<Option<bool>>(), proptest::option::of(buckets));
    let kind = proptest::sample::select(&[Kind::Soft, Kind::Soft, Kind::Uniform, Kind::Sharp][..]);
    let kind = (kind, precision());
    let lengths = proptest::collection::vec(short(), 0..=3);
    (lengths, heads, head_dim, any::<bool>(), positions, kind, dropout(), 0..1000u64)
        .prop_map(|(lengths, heads, head_dim, causal, positions, kind, dropout, seed)| {
            let ((heads, kv_heads), (rotary, buckets), (kind, precision)) =
                (heads, positions, kind);
            let plain = Forward::plain(lengths, heads, kv_heads);
            let forward =
                Forward { head_dim, causal, rotary, buckets, kind, precision, seed, ..plain };
            Case { forward, dropout }
        })
        .boxed()
}

/// Sequences of more rows than backends take at once, with a rest, and heads of more columns; some of many rows beside short ones.
/// In either precision.
fn long_cases() -> impl Iterator<Item = Case> {
    let buckets = |bidirectional| Some(BucketSpec { buckets: 8, max_distance: 40, bidirectional });
    let dropout = |rate| Some(Dropout { rate, seed: 7, step: 3, place: 1 });
    let case = |lengths: &[usize], (heads, kv_heads), head_dim| Forward {
        head_dim,
        ..Forward::plain(lengths.to_vec(), heads, kv_heads)
    };
    [
        (
            Forward { causal: true, buckets: buckets(false), ..case(&[1, 70, 0, 3], (3, 1), 6) },
            None,
        ),
        (Forward { buckets: buckets(true), ..case(&[2, 131], (1, 1), 5) }, dropout(0.1)),
        (Forward { causal: true, ..case(&[100, 3], (2, 1), 10) }, dropout(0.3)),
        (Forward { rotary: Some(true), ..case(&[67, 1], (2, 1), 40) }, dropout(0.5)),
        (Forward { causal: true, ..case(&[36], (1, 1), 100) }, dropout(0.1)),
        (
            Forward { rotary: Some(false), buckets: buckets(true), ..case(&[2, 33], (1, 1), 256) },
            None,
        ),
    ]
    .into_iter()
    .flat_map(|(forward, dropout)| {
        let of = move |precision| Forward { precision, ..forward.clone() };
        PRECISIONS.map(of).map(|forward| Case { forward, dropout })
    })
}

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// What comes of a case: result, gradient of the input, gradient of the table.
type Ran<T> = (T, [Gradient<T>; 2]);

/// All of it in a row.
fn flat<B: TrainBackend>(backend: &B, (y, gradients): Ran<B::Tensor>) -> Result<Vec<f32>> {
    let mut out = backend.download(&y)?;
    for gradient in gradients.into_iter().flatten() {
        out.extend(backend.download(&gradient)?);
    }
    Ok(out)
}

impl Case {
    fn dy(&self) -> Vec<f32> {
        let (n, forward): (usize, _) = (self.forward.lengths.iter().sum(), &self.forward);
        let mut dy = gradient_values(forward.seed + 3, n * forward.spec().inner());
        represent(forward.precision, forward.seed, &mut dy);
        dy
    }

    fn run<B: TrainBackend>(&self, backend: &B) -> Result<Ran<B::Tensor>> {
        let (forward, dropout) = (&self.forward, self.dropout);
        let (spec, rows) = (forward.spec(), forward.rows());
        let qkv = backend.upload(&forward.qkv())?;
        let bias = forward.bias(backend)?;
        let bias = bias.as_ref();
        let (y, log_sums) = backend.attend_forward(&qkv, &rows, &spec, bias, dropout)?;
        let dy = backend.upload(&host(rows.rows(), spec.inner(), &self.dy()))?;
        let of = AttendBackward {
            qkv: &qkv,
            y: &y,
            log_sums: &log_sums,
            rows: &rows,
            spec: &spec,
            bias,
            dropout,
            dy: &dy,
        };
        let mut dqkv = begun(backend, rows.rows(), spec.qkv_width())?;
        let mut table = None;
        let wanted = bias.is_some().then_some(&mut table);
        backend.attend_backward(&of, Some(&mut dqkv), wanted)?;
        Ok((y, [dqkv, table]))
    }
}

/// Gradients lie within their bounds; without dropout the forward has the bits of [`attend`](crate::EncoderOps::attend) in f32, and
/// lies within its bounds in bf16, to which a backend may round the one and not the other.
pub fn backward_matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    let check = |case: &Case| {
        let forward = &case.forward;
        let (spec, rows) = (forward.spec(), forward.rows());
        let (qkv, dy) = (Approx::all(&forward.qkv().to_f32()), Approx::all(&case.dy()));
        let bias = forward.bias(&Reference)?;
        let [want, table] = attended(&qkv, &dy, &rows, &spec, bias.as_ref(), case.dropout);
        let (y, [got, got_table]) = case.run(backend)?;
        if case.dropout.is_none() && spec.precision == Precision::Bf16 {
            within("attend_forward", &forward.all_bounds()?, &backend.download(&y)?)?;
        } else if case.dropout.is_none() {
            let (x, bias) = (backend.upload(&forward.qkv())?, forward.bias(backend)?);
            let plain = backend.attend(&x, &rows, &spec, bias.as_ref())?;
            bits("attend_forward", &backend.download(&plain)?, &backend.download(&y)?)?;
        }
        // Keys and values sum over the queries of all heads that read them.
        let terms = rows.longest() * spec.heads / spec.kv_heads;
        added(backend, "dqkv", (&want, terms), &got, true)?;
        match bias {
            Some(_) => added(backend, "the table", (&table, rows.rows()), &got_table, false),
            None => Ok(()),
        }
    };
    long_cases().try_for_each(|case| check(&case))?;
    each(cases(), check)
}

/// An attention to a memory and its way back.
#[derive(Debug, Clone)]
struct CrossCase {
    groups: groups::Groups,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    precision: Precision,
    dropout: Option<Dropout>,
    seed: u64,
}

fn cross_cases() -> BoxedStrategy<CrossCase> {
    let lengths = proptest::collection::vec(short(), 1..=3);
    let rows = proptest::collection::vec(0..=6usize, 0..=4);
    let heads = proptest::sample::select(&HEADS[..]);
    let head_dim = proptest::sample::select(&HEAD_DIMS[..]);
    (lengths, rows, heads, head_dim, precision(), dropout(), 0..1000u64)
        .prop_map(|(lengths, rows, (heads, kv_heads), head_dim, precision, dropout, seed)| {
            CrossCase {
                groups: groups::Groups { lengths, rows },
                heads,
                kv_heads,
                head_dim,
                precision,
                dropout,
                seed,
            }
        })
        .boxed()
}

/// As [`long_cases`], of sources that several groups read, and some that nobody does.
fn long_cross_cases() -> impl Iterator<Item = CrossCase> {
    let dropout = Some(Dropout { rate: 0.2, seed: 5, step: 0, place: 9 });
    let case = |(lengths, rows): (&[usize], &[usize]), (heads, kv_heads), head_dim, dropout| {
        let groups = groups::Groups { lengths: lengths.into(), rows: rows.into() };
        let precision = Precision::F32;
        CrossCase { groups, heads, kv_heads, head_dim, precision, dropout, seed: 2 }
    };
    [
        case((&[70, 3, 0, 2], &[40, 2, 1, 0, 30]), (3, 1), 6, None),
        case((&[129], &[1, 20]), (2, 2), 12, dropout),
        case((&[34, 1], &[3]), (1, 1), 130, dropout),
    ]
    .into_iter()
    .flat_map(|case| PRECISIONS.map(move |precision| CrossCase { precision, ..case.clone() }))
}

impl CrossCase {
    fn spec(&self) -> AttentionSpec {
        let spec = cross::spec((self.heads, self.kv_heads), self.head_dim);
        AttentionSpec { precision: self.precision, ..spec }
    }

    fn rows(&self) -> [Ragged; 2] {
        [self.groups.group_rows(), self.groups.source_rows()]
    }

    /// Queries, keys and values, gradient of the result.
    fn values(&self) -> [Vec<f32>; 3] {
        let ([rows, sources], spec) = (self.rows(), self.spec());
        let normal = |seed, n| values(Profile::Normal, self.seed + seed, n);
        [
            normal(0, rows.rows() * spec.inner()),
            normal(1, sources.rows() * 2 * spec.kv_width()),
            gradient_values(self.seed + 2, rows.rows() * spec.inner()),
        ]
        .map(|mut x| {
            represent(self.precision, self.seed, &mut x);
            x
        })
    }

    fn run<B: TrainBackend>(&self, backend: &B) -> Result<Ran<B::Tensor>> {
        let ([rows, source_rows], spec, dropout) = (self.rows(), self.spec(), self.dropout);
        let [q, kv, dy] = self.values();
        let q = backend.upload(&host(rows.rows(), spec.inner(), &q))?;
        let kv = backend.upload(&host(source_rows.rows(), 2 * spec.kv_width(), &kv))?;
        let dy = backend.upload(&host(rows.rows(), spec.inner(), &dy))?;
        let memory = backend.memory(&kv, &source_rows, &backend.trained_attention(&spec))?;
        let sources = &self.groups.sources();
        let (y, log_sums) =
            backend.cross_attend_forward(&q, &rows, &memory, sources, &spec, dropout)?;
        let of = CrossBackward {
            q: &q,
            y: &y,
            log_sums: &log_sums,
            rows: &rows,
            kv: &kv,
            source_rows: &source_rows,
            memory: &memory,
            sources,
            spec: &spec,
            dropout,
            dy: &dy,
        };
        let mut dq = None;
        let mut dkv = begun(backend, source_rows.rows(), 2 * spec.kv_width())?;
        backend.cross_attend_backward(&of, Some(&mut dq), Some(&mut dkv))?;
        Ok((y, [dq, dkv]))
    }
}

/// Gradients lie within their bounds; without dropout the forward has the bits of
/// [`cross_attend`](crate::CrossAttentionOps::cross_attend) over the same memory.
pub fn cross_backward_matches_reference<B: TrainBackend>(backend: &B) -> Outcome {
    let check = |case: &CrossCase| {
        let ([rows, source_rows], spec) = (case.rows(), case.spec());
        let numbers = case.values().map(|v| Approx::all(&v));
        let sources = case.groups.sources();
        let groups = Groups { rows: &rows, sources: &sources, source_rows: &source_rows };
        let slices = numbers.each_ref().map(Vec::as_slice);
        let [want_q, want_kv] = crossed(slices, &groups, &spec, case.dropout);
        let (y, [dq, dkv]) = case.run(backend)?;
        if case.dropout.is_none() {
            let [q, kv, _] = case.values();
            let q = backend.upload(&host(rows.rows(), spec.inner(), &q))?;
            let kv = backend.upload(&host(source_rows.rows(), 2 * spec.kv_width(), &kv))?;
            let memory = backend.memory(&kv, &source_rows, &backend.trained_attention(&spec))?;
            let plain = backend.cross_attend(&q, &rows, &memory, &sources, &spec, None)?;
            bits("cross_attend_forward", &backend.download(&plain)?, &backend.download(&y)?)?;
        }
        if dq.is_none() {
            return fail("there is no gradient of the queries".into());
        }
        added(backend, "dq", (&want_q, source_rows.longest()), &dq, false)?;
        let terms = rows.rows() * spec.heads / spec.kv_heads;
        added(backend, "dkv", (&want_kv, terms), &dkv, true)
    };
    long_cross_cases().try_for_each(|case| check(&case))?;
    each(cross_cases(), check)
}

pub(super) fn same_bits(a: &impl TrainBackend, b: &impl TrainBackend) -> Outcome {
    let within = |case: &Case| bits("attend", &flat(a, case.run(a)?)?, &flat(b, case.run(b)?)?);
    let forward = Forward {
        head_dim: 40,
        causal: true,
        rotary: Some(true),
        buckets: Some(BucketSpec { buckets: 32, max_distance: 128, bidirectional: false }),
        ..Forward::plain(vec![50, 3, 64], 6, 3)
    };
    within(&Case { forward, dropout: None })?;
    each(cases(), within)?;
    let across =
        |case: &CrossCase| bits("cross_attend", &flat(a, case.run(a)?)?, &flat(b, case.run(b)?)?);
    across(&CrossCase {
        groups: groups::Groups { lengths: vec![60, 90], rows: vec![20, 40] },
        heads: 8,
        kv_heads: 8,
        head_dim: 64,
        precision: Precision::F32,
        dropout: None,
        seed: 1,
    })?;
    each(cross_cases(), across)
}
