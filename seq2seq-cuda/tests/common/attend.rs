//! Attention in bf16 of sequences long enough for every kernel: whole, in passes over a cache, and in numbers that nobody may meet.

use half::bf16;
use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::{
    AttentionSpec, Backend, CacheSpec, DecoderOps, EncoderOps, HostTensor, Precision, Ragged,
};
use seq2seq_cuda::Cuda;

/// Keys are summed in chunks of so many.
const CHUNK: usize = 64;

/// Causal, two query heads over each of two of keys.
pub(crate) fn spec(width: usize) -> AttentionSpec {
    AttentionSpec {
        heads: 4,
        kv_heads: 2,
        head_dim: width,
        scale: 0.37,
        causal: true,
        rotary: None,
        dropout: 0.0,
        precision: Precision::Bf16,
    }
}

/// One sequence of packed rows.
pub(crate) fn rows(spec: &AttentionSpec, count: usize) -> Vec<f32> {
    values(Profile::Normal, 3, count * spec.qkv_width())
}

fn upload(cuda: &Cuda, x: &[f32], width: usize) -> <Cuda as Backend>::Tensor {
    cuda.upload(&HostTensor::from_f32(vec![x.len() / width, width], x).unwrap()).unwrap()
}

/// Row by row, over the whole sequence at once.
pub(crate) fn whole(cuda: &Cuda, spec: &AttentionSpec, x: &[f32]) -> Vec<Vec<f32>> {
    let x = upload(cuda, x, spec.qkv_width());
    let one = Ragged::from_lengths([seq2seq_core::Rows::rows(&x)]);
    let y = cuda.download(&cuda.attend(&x, &one, spec, None).unwrap()).unwrap();
    y.chunks(spec.inner()).map(<[f32]>::to_vec).collect()
}

/// The same in passes of so many rows over a cache.
pub(crate) fn passes(
    cuda: &Cuda,
    spec: &AttentionSpec,
    x: &[f32],
    counts: &[usize],
) -> Vec<Vec<f32>> {
    let cache = CacheSpec {
        layers: 1,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
        sequences: 1,
        beams: 1,
        capacity: counts.iter().sum(),
        precision: spec.precision,
    };
    let mut cache = cuda.kv_cache(&cache).unwrap();
    let (mut rest, mut out) = (x, Vec::new());
    for &count in counts {
        let rows = Ragged::from_lengths([count]);
        let now = rest.split_off(..count * spec.qkv_width()).unwrap();
        cuda.extend(&mut cache, &rows).unwrap();
        let now = upload(cuda, now, spec.qkv_width());
        let y = cuda.attend_step(&now, &rows, &mut cache, 0, spec, None).unwrap();
        let y = cuda.download(&y).unwrap();
        out.extend(y.chunks(spec.inner()).map(<[f32]>::to_vec));
    }
    out
}

/// The formula in f64, where operands, and the dividends of the probabilities in a chunk, have passed `round`.
pub(crate) fn formula(
    spec: &AttentionSpec,
    x: &[f32],
    n: usize,
    round: impl Fn(f32) -> f32,
) -> Vec<f64> {
    let (width, d) = (spec.qkv_width(), spec.head_dim);
    let at = |row: usize, column: usize| x[row * width + column];
    let head = |h: usize| {
        let keys = spec.inner() + h / (spec.heads / spec.kv_heads) * d;
        let product = |j: usize, i: usize| {
            let q = round(spec.scale * at(n, h * d + i));
            f64::from(q) * f64::from(round(at(j, keys + i)))
        };
        let scores: Vec<f64> = (0..=n).map(|j| (0..d).map(|i| product(j, i)).sum()).collect();
        let (mut sums, mut total) = (vec![0.0; d], 0.0);
        for (chunk, scores) in scores.chunks(CHUNK).enumerate() {
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            for (j, score) in scores.iter().enumerate() {
                let p = (score - largest).exp();
                total += p * largest.exp();
                for (i, sum) in sums.iter_mut().enumerate() {
                    let value = round(at(chunk * CHUNK + j, keys + spec.kv_width() + i));
                    *sum += f64::from(round(p as f32)) * f64::from(value) * largest.exp();
                }
            }
        }
        sums.into_iter().map(|sum| sum / total).collect::<Vec<f64>>()
    };
    (0..spec.heads).flat_map(head).collect()
}

pub(crate) fn rounded(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

/// Any NaN is NaN.
fn bits(rows: &[Vec<f32>]) -> Vec<u32> {
    let bits = |v: &f32| if v.is_nan() { u32::MAX } else { v.to_bits() };
    rows.iter().flatten().map(bits).collect()
}

/// The whole, many rows, few rows and one row over a cache give one another's bits.
pub(crate) fn rows_have_the_same_bits(cuda: &Cuda, width: usize) {
    let spec = spec(width);
    let x = rows(&spec, 150);
    let wanted = whole(cuda, &spec, &x);
    // High tiles and low ones, few rows within a chunk and across two, one row.
    for counts in [&[67, 61, 1, 3, 1, 1, 4, 12][..], &[20, 30, 4, 4, 4, 4, 84], &[1, 149]] {
        let stepped = passes(cuda, &spec, &x, counts);
        assert_eq!(bits(&stepped), bits(&wanted), "width {width}, {counts:?}");
    }
}

/// A sequence among so many that any device has high tiles.
pub(crate) fn a_batch_has_the_same_bits(cuda: &Cuda, width: usize, copies: usize) {
    let spec = spec(width);
    let one = rows(&spec, 97);
    let wanted = whole(cuda, &spec, &one);
    let x = upload(cuda, &one.repeat(copies), spec.qkv_width());
    let rows = Ragged::from_lengths(vec![97; copies]);
    let y = cuda.download(&cuda.attend(&x, &rows, &spec, None).unwrap()).unwrap();
    for (i, y) in y.chunks(97 * spec.inner()).enumerate() {
        let found: Vec<u32> = y.iter().map(|v| v.to_bits()).collect();
        assert_eq!(found, bits(&wanted), "width {width}, sequence {i}");
    }
}

/// The same with one head of keys for so many of queries: with sixteen or more all vectors of a product may be one row.
pub(crate) fn of_group(group: usize, width: usize) -> AttentionSpec {
    AttentionSpec { heads: group, kv_heads: 1, ..spec(width) }
}

/// A value that a row does not see is not even multiplied by zero.
pub(crate) fn unseen_values_are_not_met(cuda: &Cuda, spec: &AttentionSpec, bad: usize, value: f32) {
    let width = spec.head_dim;
    let plain = rows(spec, 75);
    let wanted = whole(cuda, spec, &plain);
    let mut x = plain;
    x[(bad + 1) * spec.qkv_width() - 1] = value;
    let all = whole(cuda, spec, &x);
    for n in 0..75 {
        assert_eq!(all[n] == wanted[n], n < bad, "{spec:?}, {value} at {bad}, row {n}");
    }
    // Of the last column alone.
    let others = |y: &[f32]| y.chunks(width).map(|h| h[..width - 1].to_vec()).collect::<Vec<_>>();
    assert!((0..75).all(|n| others(&all[n]) == others(&wanted[n])), "{spec:?}, {bad}");
    for counts in [&[3; 25][..], &[30, 45], &[1; 75]] {
        let stepped = passes(cuda, spec, &x, counts);
        assert_eq!(bits(&stepped), bits(&all), "{spec:?}, {value} at {bad}, {counts:?}");
    }
}
