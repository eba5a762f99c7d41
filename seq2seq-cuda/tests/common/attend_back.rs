//! Attention of training, there and back, in either precision: what it depends on, and what it meets.

use super::attend::rounded;
use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::train::{AttendBackward, Dropout, TrainBackend};
use seq2seq_core::{AttentionSpec, Backend, BucketSpec, EncoderOps, HostTensor, Precision, Ragged};
use seq2seq_cuda::Cuda;

pub(crate) fn spec(
    (heads, kv_heads): (usize, usize),
    head_dim: usize,
    causal: bool,
) -> AttentionSpec {
    AttentionSpec {
        heads,
        kv_heads,
        head_dim,
        scale: 0.3,
        causal,
        rotary: None,
        dropout: 0.0,
        precision: Precision::F32,
    }
}

/// In bf16.
pub(crate) fn in_bf16(spec: AttentionSpec) -> AttentionSpec {
    AttentionSpec { precision: Precision::Bf16, ..spec }
}

pub(crate) fn upload(cuda: &Cuda, x: &[f32], width: usize) -> <Cuda as Backend>::Tensor {
    cuda.upload(&HostTensor::from_f32(vec![x.len() / width, width], x).unwrap()).unwrap()
}

/// Packed rows, and the gradient of the result.
pub(crate) fn operands(spec: &AttentionSpec, rows: usize) -> (Vec<f32>, Vec<f32>) {
    let of = |seed, width| values(Profile::Normal, seed, rows * width);
    (of(1, spec.qkv_width()), of(2, spec.inner()))
}

/// What may be besides the rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct With {
    pub(crate) buckets: Option<BucketSpec>,
    pub(crate) dropout: Option<Dropout>,
}

impl With {
    /// `[buckets, H]`
    fn table(self, heads: usize) -> Option<HostTensor> {
        let buckets = self.buckets?.buckets;
        let table = values(Profile::Normal, 3, buckets * heads);
        Some(HostTensor::from_f32(vec![buckets, heads], &table).unwrap())
    }
}

/// There and back: the result, ln Σ e^score, the gradient of packed rows, and that of the table where there is one.
pub(crate) fn there_and_back(
    cuda: &Cuda,
    (x, dy): (&[f32], &[f32]),
    rows: &Ragged,
    spec: &AttentionSpec,
    with: With,
) -> [Vec<f32>; 4] {
    let table = with.table(spec.heads);
    let bias = with.buckets.zip(table).map(|(b, t)| cuda.relative_bias(&t, b).unwrap());
    let (bias, dropout) = (bias.as_ref(), with.dropout);
    let (qkv, dy) = (upload(cuda, x, spec.qkv_width()), upload(cuda, dy, spec.inner()));
    let (y, log_sums) = cuda.attend_forward(&qkv, rows, spec, bias, dropout).unwrap();
    let (mut dqkv, mut table) = (None, None);
    {
        let (qkv, y, log_sums, dy) = (&qkv, &y, &log_sums, &dy);
        let of = AttendBackward { qkv, y, log_sums, rows, spec, bias, dropout, dy };
        let wanted = bias.is_some().then_some(&mut table);
        cuda.attend_backward(&of, Some(&mut dqkv), wanted).unwrap();
    }
    let down = |t: Option<_>| t.map_or(Vec::new(), |t| cuda.download(&t).unwrap());
    [Some(y), Some(log_sums), dqkv, table].map(down)
}

/// The gradients alone.
pub(crate) fn gradients(
    cuda: &Cuda,
    of: (&[f32], &[f32]),
    rows: &Ragged,
    spec: &AttentionSpec,
    with: With,
) -> [Vec<f32>; 2] {
    let [_, _, dqkv, table] = there_and_back(cuda, of, rows, spec, with);
    [dqkv, table]
}

/// The formula of one sequence in f64, whose factors have passed `round`: the gradients of packed rows and of the table, from the
/// result `y`.
pub(crate) fn formula(
    spec: &AttentionSpec,
    (x, y, dy): (&[f32], &[f32], &[f32]),
    with: With,
    round: impl Fn(f32) -> f32,
) -> [Vec<f64>; 2] {
    let (width, inner, d) = (spec.qkv_width(), spec.inner(), spec.head_dim);
    let (n, group) = (x.len() / width, spec.heads / spec.kv_heads);
    let factor = |v: f64| f64::from(round(v as f32));
    let table = with.table(spec.heads).map(|t| t.to_f32());
    let mut dx = vec![0.0; x.len()];
    let mut dtable = vec![0.0; table.as_ref().map_or(0, Vec::len)];
    let vector = |x: &[f32], at: usize, by: f32| -> Vec<f64> {
        x[at..at + d].iter().map(|&v| f64::from(round(v * by))).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (i, h) in (0..n).flat_map(|i| (0..spec.heads).map(move |h| (i, h))) {
        let (query, result) = (i * width + h * d, i * inner + h * d);
        let key = |j: usize| j * width + inner + h / group * d;
        let value = |j: usize| key(j) + spec.kv_width();
        let (q, dy) = (vector(x, query, spec.scale), vector(dy, result, 1.0));
        let seen = if spec.causal { i + 1 } else { n };
        let place =
            |j: usize| with.buckets.map(|b| b.bucket(j as isize - i as isize) * spec.heads + h);
        let bias = |j| match (&table, place(j)) {
            (Some(table), Some(place)) => f64::from(table[place]),
            _ => 0.0,
        };
        let scores: Vec<f64> =
            (0..seen).map(|j| dot(&q, &vector(x, key(j), 1.0)) + bias(j)).collect();
        let log_sum = scores.iter().map(|s| s.exp()).sum::<f64>().ln();
        let along = dot(&dy, &y[result..result + d].iter().map(|&v| v.into()).collect::<Vec<_>>());
        for j in 0..seen {
            let kept = with.dropout.map_or(1.0, |m| m.factor(i * spec.heads + h, j));
            let (k, v) = (vector(x, key(j), 1.0), vector(x, value(j), 1.0));
            let p = (scores[j] - log_sum).exp();
            let ds = factor(p * (dot(&dy, &v) * f64::from(kept) - along));
            for c in 0..d {
                dx[query + c] += f64::from(spec.scale) * ds * k[c];
                dx[key(j) + c] += ds * q[c];
                dx[value(j) + c] += f64::from(kept) * factor(p) * dy[c];
            }
            if let Some(place) = place(j) {
                dtable[place] += ds;
            }
        }
    }
    [dx, dtable]
}

/// Kinds of attention: heads, whether it is causal, and what there is besides.
pub(crate) fn kinds() -> [((usize, usize), bool, With); 4] {
    let dropout = Some(Dropout { rate: 0.3, seed: 9, step: 4, place: 2 });
    let buckets = Some(BucketSpec { buckets: 8, max_distance: 20, bidirectional: true });
    [
        ((2, 1), true, With::default()),
        ((1, 1), false, With { dropout, buckets: None }),
        ((1, 1), false, With { dropout: None, buckets }),
        ((3, 1), true, With { dropout, buckets }),
    ]
}

/// In bf16 gradients are those of rounded factors: ten times as close to them as to those of factors that are not.
pub(crate) fn factors_are_rounded(
    cuda: &Cuda,
    width: usize,
    (heads, causal, with): ((usize, usize), bool, With),
) {
    let spec = AttentionSpec {
        scale: (width as f32).powf(-0.5) * 1.1,
        ..in_bf16(spec(heads, width, causal))
    };
    let n = 70;
    let (x, dy) = operands(&spec, n);
    let rows = Ragged::from_lengths([n]);
    let [y, _, dx, table] = there_and_back(cuda, (&x, &dy), &rows, &spec, with);
    let formula = |round: fn(f32) -> f32| formula(&spec, (&x, &y, &dy), with, round);
    let (of_rounded, of_plain) = (formula(rounded), formula(|v| v));
    // Of queries, keys, values and the table, each by itself.
    let part = |dx: &dyn Fn(usize) -> f64, columns: std::ops::Range<usize>| -> Vec<f64> {
        let width = spec.qkv_width();
        let at = |i: usize| columns.clone().map(move |c| i * width + c);
        (0..n).flat_map(at).map(dx).collect()
    };
    let (inner, kv) = (spec.inner(), spec.kv_width());
    for columns in [0..inner, inner..inner + kv, inner + kv..inner + 2 * kv] {
        let got = part(&|i| f64::from(dx[i]), columns.clone());
        let [near, far] =
            [&of_rounded, &of_plain].map(|f| off(&got, &part(&|i| f[0][i], columns.clone())));
        let what = format!("width {width}, {heads:?}, causal: {causal}, {with:?}, {columns:?}");
        assert!(near < 0.1 * far && far < 0.02, "{what}: {near} of {far}");
    }
    if with.buckets.is_some() {
        let got: Vec<f64> = table.iter().map(|&v| v.into()).collect();
        let [near, far] = [&of_rounded, &of_plain].map(|f| off(&got, &f[1]));
        assert!(near < 0.1 * far && far < 0.05, "width {width}, table: {near} of {far}");
    }
}

/// The length of the difference, as a share of that of `wanted`.
fn off(got: &[f64], wanted: &[f64]) -> f64 {
    let length = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let apart = length(&mut got.iter().zip(wanted).map(|(g, w)| g - w));
    apart / length(&mut wanted.iter().copied())
}

/// Without dropout a pass that is trained on gives what one gives that is not.
pub(crate) fn results_are_those_of_inference(cuda: &Cuda, spec: &AttentionSpec) {
    let rows = Ragged::from_lengths([70, 0, 1, 5]);
    let (x, dy) = operands(spec, rows.rows());
    let [y, ..] = there_and_back(cuda, (&x, &dy), &rows, spec, With::default());
    let plain = cuda.attend(&upload(cuda, &x, spec.qkv_width()), &rows, spec, None).unwrap();
    assert_eq!(cuda.download(&plain).unwrap(), y, "{spec:?}");
}

/// One long sequence and many short ones.
pub(crate) fn a_sequence_has_the_same_bits_alone(cuda: &Cuda, spec: &AttentionSpec) {
    let rows = Ragged::from_lengths([3, 1, 0, 1, 70, 2, 1, 5, 1]);
    let (x, dy) = operands(spec, rows.rows());
    let [all, _] = gradients(cuda, (&x, &dy), &rows, spec, With::default());
    for range in rows.ranges() {
        let part = |x: &[f32], width| x[range.start * width..range.end * width].to_vec();
        let own = (part(&x, spec.qkv_width()), part(&dy, spec.inner()));
        let one = Ragged::from_lengths([range.len()]);
        let [alone, _] = gradients(cuda, (&own.0, &own.1), &one, spec, With::default());
        assert_eq!(alone, part(&all, spec.qkv_width()), "{range:?}, {spec:?}");
    }
}

/// What is not a number stays with the rows that see it, and the keys that these see.
pub(crate) fn unseen_rows_are_not_met(cuda: &Cuda, spec: &AttentionSpec) {
    let rows = Ragged::from_lengths([70]);
    let (width, kv) = (spec.qkv_width(), spec.kv_width());
    let (mut x, dy) = operands(spec, 70);
    let [plain, _] = gradients(cuda, (&x, &dy), &rows, spec, With::default());
    // A query of row 3, which sees keys 0 to 3, and the value of position 66.
    x[3 * width] = f32::NAN;
    x[67 * width - 1] = f32::INFINITY;
    let [dx, _] = gradients(cuda, (&x, &dy), &rows, spec, With::default());
    for (n, (row, plain)) in dx.chunks(width).zip(plain.chunks(width)).enumerate() {
        let parts = |row: &[f32]| {
            let (dq, dkv) = row.split_at(spec.inner());
            let (dk, dv) = dkv.split_at(kv);
            [dq, dk, dv].map(<[f32]>::to_vec)
        };
        let met = parts(row).map(|part| part.iter().any(|v| !v.is_finite()));
        // Keys up to 3 are met by row 3; all that a row behind 65 sees, by its ds.
        assert_eq!(met, [n == 3 || n >= 66, true, n <= 3], "row {n}, {spec:?}");
        // And what is not met has its bits.
        for (part, plain) in parts(row).into_iter().zip(parts(plain)) {
            let same = part.iter().all(|v| v.is_finite());
            assert!(!same || part == plain, "row {n}, {spec:?}");
        }
    }
}
