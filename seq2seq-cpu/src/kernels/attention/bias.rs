//! Relative bias: one value a head and distance, laid out by distance.

use super::BLOCK;
use crate::memory::Tensor;
use crate::simd::Simd;
use seq2seq_core::{BucketSpec, Error, HostTensor, Result, backend::check};

/// Distances beyond this many positions would only repeat the last bucket, at the cost of memory.
const FARTHEST: usize = 1 << 24;

/// A bias for each head and each distance between key and query.
///
/// Distances from -(max + 16) to max + 15 are stored one by one. Beyond ±max all share the last bucket, so any run of up to
/// 16 consecutive distances, wherever it lies, equals a stored one: bias is added by plain vector loads.
///
/// ```
/// use seq2seq_core::{AttentionSpec, Backend, BucketSpec, EncoderOps, HostTensor, Precision, Ragged};
/// use seq2seq_cpu::{Cpu, CpuOptions, RelativeBias};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// // One head. A key as far back as the query itself has ln 1, one before it ln 3.
/// let table = HostTensor::from_f32(vec![2, 1], &[0.0, 3.0f32.ln()])?;
/// let buckets = BucketSpec { buckets: 2, max_distance: 4, bidirectional: false };
/// let bias: RelativeBias = cpu.relative_bias(&table, buckets)?;
///
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Queries and keys of 0, so that the bias alone tells how much each value counts.
/// let qkv = cpu.upload(&HostTensor::from_f32(vec![2, 3], &[0.0, 0.0, 4.0, 0.0, 0.0, 8.0])?)?;
/// let y = cpu.attend(&qkv, &Ragged::from_lengths([2]), &spec, Some(&bias))?;
/// let y = cpu.download(&y)?;
/// assert_eq!(y[0], 4.0);
/// assert!((y[1] - 5.0).abs() < 1e-5); // 3/4 of 4 and 1/4 of 8
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RelativeBias {
    spec: BucketSpec,
    heads: usize,
    /// The distance from which on all are equal.
    max: usize,
    /// `[H][2 max + 32]`
    values: Vec<f32>,
}

impl RelativeBias {
    pub(crate) fn new(table: &HostTensor, spec: &BucketSpec) -> Result<Self> {
        let heads = check::relative_bias(table, spec)?;
        let max = spec.max_distance;
        if max > FARTHEST {
            return Err(Error::Unsupported {
                what: format!("a relative bias up to distance {max}"),
                hint: format!("distances up to {FARTHEST}"),
            });
        }
        let mut this = Self { spec: *spec, heads, max, values: Vec::new() };
        this.lay_out(&table.to_f32(), heads);
        Ok(this)
    }

    /// From a table whose rows begin `stride` values apart.
    fn lay_out(&mut self, table: &[f32], stride: usize) {
        let reach = (self.max + BLOCK) as isize;
        let buckets: Vec<usize> = (-reach..reach).map(|d| self.spec.bucket(d)).collect();
        self.values.clear();
        for head in 0..self.heads {
            self.values.extend(buckets.iter().map(|b| table[b * stride + head]));
        }
    }

    /// Takes over a table that has changed.
    pub(crate) fn renew(&mut self, table: &Tensor) -> Result<()> {
        check::renew_relative_bias(table, self.shape())?;
        self.lay_out(table.values(), table.stride());
        Ok(())
    }

    /// Which distances share a value.
    pub(crate) fn buckets(&self) -> BucketSpec {
        self.spec
    }

    /// buckets, H
    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.spec.buckets, self.heads]
    }

    /// H
    pub(crate) fn heads(&self) -> usize {
        self.heads
    }

    /// What `head` sees from a query at `position`.
    pub(crate) fn seen_from(&self, head: usize, position: usize) -> Seen<'_> {
        let count = 2 * (self.max + BLOCK);
        Seen { values: &self.values[head * count..][..count], max: self.max, position }
    }
}

/// The bias of one head for a query at one position.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    values: &'a [f32],
    max: usize,
    position: usize,
}

impl Seen<'_> {
    /// For the keys at `position` and the next lanes.
    #[inline(always)]
    pub(crate) fn at<S: Simd>(&self, s: S, position: usize) -> S::V {
        let distance = position as isize - self.position as isize;
        let lowest = -((self.max + BLOCK) as isize);
        let index = distance.clamp(lowest, self.max as isize) - lowest;
        s.load(&self.values[index as usize..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::{Kernel, MAX_LANES, dispatch};

    struct Lanes<'a>(Seen<'a>, usize);
    impl Kernel for Lanes<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<f32> {
            let mut out = [0.0; MAX_LANES];
            s.store(self.0.at(s, self.1), &mut out);
            out[..S::LANES].to_vec()
        }
    }

    #[test]
    fn every_distance_has_its_bucket() {
        let spec = BucketSpec { buckets: 8, max_distance: 20, bidirectional: true };
        let table: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let table = HostTensor::from_f32(vec![8, 2], &table).unwrap();
        let bias = RelativeBias::new(&table, &spec).unwrap();
        for isa in Isa::available() {
            for (head, query) in [(0, 0), (1, 0), (0, 37), (1, 100), (1, 1000)] {
                for key in (0..200).step_by(4) {
                    let lanes = dispatch(isa, Lanes(bias.seen_from(head, query), key));
                    for (i, got) in lanes.into_iter().enumerate() {
                        let bucket = spec.bucket((key + i) as isize - query as isize);
                        assert_eq!(got, (bucket * 2 + head) as f32, "{isa} {query} {key} {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_absurd_distance_is_refused() {
        let spec = BucketSpec { buckets: 8, max_distance: 1 << 60, bidirectional: true };
        let table = HostTensor::from_f32(vec![8, 1], &[0.0; 8]).unwrap();
        assert!(RelativeBias::new(&table, &spec).is_err());
    }
}
