//! Attention of training: its gradients depend on nothing but the sequence, meet nothing that a row does not see, and take memory by
//! the length of sequences. The conformance suite holds them to the reference, over borders of tiles and with heads of every kernel.

mod common;

use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::train::{AttendBackward, Dropout, TrainBackend};
use seq2seq_core::{AttentionSpec, Backend, BucketSpec, EncoderOps, HostTensor, Precision, Ragged};
use seq2seq_cuda::Cuda;

fn spec((heads, kv_heads): (usize, usize), head_dim: usize, causal: bool) -> AttentionSpec {
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

fn upload(cuda: &Cuda, x: &[f32], width: usize) -> <Cuda as Backend>::Tensor {
    cuda.upload(&HostTensor::from_f32(vec![x.len() / width, width], x).unwrap()).unwrap()
}

/// The gradients of packed rows, and of the table where there is one.
fn gradients(
    cuda: &Cuda,
    (x, dy): (&[f32], &[f32]),
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&<Cuda as EncoderOps>::RelativeBias>,
    dropout: Option<Dropout>,
) -> [Vec<f32>; 2] {
    let (qkv, dy) = (upload(cuda, x, spec.qkv_width()), upload(cuda, dy, spec.inner()));
    let (y, log_sums) = cuda.attend_forward(&qkv, rows, spec, bias, dropout).unwrap();
    let (qkv, y, log_sums, dy) = (&qkv, &y, &log_sums, &dy);
    let of = AttendBackward { qkv, y, log_sums, rows, spec, bias, dropout, dy };
    let (mut dqkv, mut table) = (None, None);
    let wanted = bias.is_some().then_some(&mut table);
    cuda.attend_backward(&of, Some(&mut dqkv), wanted).unwrap();
    [dqkv, table].map(|t| t.map_or(Vec::new(), |t| cuda.download(&t).unwrap()))
}

fn operands(spec: &AttentionSpec, rows: usize) -> (Vec<f32>, Vec<f32>) {
    let of = |seed, width| values(Profile::Normal, seed, rows * width);
    (of(1, spec.qkv_width()), of(2, spec.inner()))
}

/// A pass that is trained on is f32, whatever attention of the layer may round to elsewhere.
#[test]
fn nothing_is_rounded() {
    let (cuda, rows) = (common::cuda(), Ragged::from_lengths([9]));
    let single = spec((2, 1), 8, true);
    let rounded = AttentionSpec { precision: Precision::Bf16, ..single.clone() };
    let (x, dy) = operands(&single, rows.rows());
    let qkv = upload(&cuda, &x, single.qkv_width());
    let [a, b] = [&single, &rounded].map(|spec| {
        let (y, log_sums) = cuda.attend_forward(&qkv, &rows, spec, None, None).unwrap();
        let [y, log_sums] = [y, log_sums].map(|t| cuda.download(&t).unwrap());
        (y, log_sums, gradients(&cuda, (&x, &dy), &rows, spec, None, None))
    });
    assert_eq!(a, b);
}

/// One long sequence and many short ones.
#[test]
fn a_sequence_has_the_same_bits_alone() {
    let cuda = common::cuda();
    let rows = Ragged::from_lengths([3, 1, 0, 1, 70, 2, 1, 5, 1]);
    for (heads, width, causal) in [((3, 1), 6, true), ((1, 1), 36, false)] {
        let spec = spec(heads, width, causal);
        let (x, dy) = operands(&spec, rows.rows());
        let [all, _] = gradients(&cuda, (&x, &dy), &rows, &spec, None, None);
        for range in rows.ranges() {
            let part = |x: &[f32], width| x[range.start * width..range.end * width].to_vec();
            let own = (part(&x, spec.qkv_width()), part(&dy, spec.inner()));
            let one = Ragged::from_lengths([range.len()]);
            let [alone, _] = gradients(&cuda, (&own.0, &own.1), &one, &spec, None, None);
            assert_eq!(alone, part(&all, spec.qkv_width()), "{range:?}, causal: {causal}");
        }
    }
}

/// Gradients, that of the table included, in whatever order blocks and warps run.
#[test]
fn runs_give_the_same_bits() {
    let dropout = Some(Dropout { rate: 0.3, seed: 1, step: 2, place: 3 });
    let rows = Ragged::from_lengths([67, 2, 9]);
    let spec = spec((2, 1), 9, false);
    let (x, dy) = operands(&spec, rows.rows());
    let buckets = BucketSpec { buckets: 6, max_distance: 30, bidirectional: true };
    let table = HostTensor::from_f32(vec![6, 2], &values(Profile::Normal, 3, 12)).unwrap();
    let [first, second] = [1, 2].map(|seed| {
        let cuda = common::hopper(4, seed);
        let bias = cuda.relative_bias(&table, buckets).unwrap();
        gradients(&cuda, (&x, &dy), &rows, &spec, Some(&bias), dropout)
    });
    assert!(first.iter().flatten().all(|v| v.is_finite()) && first[1].len() == 12);
    assert_eq!(first, second);
}

/// What is not a number stays with the rows that see it, and the keys that these see.
#[test]
fn unseen_rows_are_not_met() {
    let cuda = common::cuda();
    let (spec, rows) = (spec((2, 1), 5, true), Ragged::from_lengths([70]));
    let (width, kv) = (spec.qkv_width(), spec.kv_width());
    let (mut x, dy) = operands(&spec, 70);
    // A query of row 3, which sees keys 0 to 3, and the value of position 66.
    x[3 * width] = f32::NAN;
    x[67 * width - 1] = f32::INFINITY;
    let [dx, _] = gradients(&cuda, (&x, &dy), &rows, &spec, None, None);
    let met: Vec<[bool; 3]> = dx
        .chunks(width)
        .map(|row| {
            let (dq, dkv) = row.split_at(spec.inner());
            [dq, &dkv[..kv], &dkv[kv..]].map(|part| part.iter().any(|v| !v.is_finite()))
        })
        .collect();
    for (n, &met) in met.iter().enumerate() {
        // Keys up to 3 are met by row 3; all that a row behind 65 sees, by its ds.
        assert_eq!(met, [n == 3 || n >= 66, true, n <= 3], "row {n}");
    }
}

/// Its probabilities would take 512 KB, of which a device has half.
#[test]
fn memory_is_taken_by_the_length() {
    let (spec, rows) = (spec((2, 1), 4, true), Ragged::from_lengths([256]));
    let probabilities = 256 * 256 * spec.heads * size_of::<f32>();
    let cuda = common::with_memory(probabilities as u64 / 2);
    let (x, dy) = operands(&spec, rows.rows());
    let dropout = Some(Dropout { rate: 0.1, seed: 1, step: 2, place: 3 });
    let [dx, _] = gradients(&cuda, (&x, &dy), &rows, &spec, None, dropout);
    assert!(dx.iter().all(|v| v.is_finite()) && dx.iter().any(|&v| v != 0.0));
}
