//! Back through attention in f32: what its kernels are given.

use super::attention::Bias;
use super::attention_back_plan::Plan;
use super::elementwise::drop_args;
use crate::launch::Launch;
use crate::memory::Tensor;
use seq2seq_core::train::Dropout;
use seq2seq_core::{AttentionSpec, Precision, Rows};

/// Threads of a block.
pub(super) const THREADS: usize = 256;

/// Bytes of shared memory of a block that has so many slabs of 64 rows by 32 columns, or as much, and what it knows of its vectors.
pub(super) const fn shared(slabs: usize) -> usize {
    const SLAB: usize = 64 * 32 * size_of::<f32>();
    const VECTORS: usize =
        64 * (2 * size_of::<i64>() + 5 * size_of::<f32>()) + 6 * size_of::<i32>();
    slabs * SLAB + VECTORS
}

/// The bias, and scale, heads, group and width of the heads, as the kernels of either precision take them.
pub(super) fn shape_args<'l>(
    launch: Launch<'l>,
    spec: &AttentionSpec,
    bias: Option<&Bias<'_>>,
) -> Launch<'l> {
    let (bias, reach) = bias.map_or((0, 0), |b| (b.table.address(), b.reach));
    let launch = launch.arg(bias).size(reach).arg(spec.scale).size(spec.heads);
    launch.size(spec.heads / spec.kv_heads).size(spec.head_dim)
}

/// Queries, keys and values, rotated already; what attention made of them, and the gradient of that. Keys and values stand in one
/// tensor, keys from column `keys` on.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) q: &'a Tensor,
    pub(crate) kv: &'a Tensor,
    pub(crate) keys: usize,
    pub(crate) dy: &'a Tensor,
    pub(crate) log_sums: &'a Tensor,
    /// Σ dy y of each row and head.
    pub(crate) along: &'a Tensor,
    pub(crate) spec: &'a AttentionSpec,
    pub(crate) plan: &'a Plan,
    pub(crate) bias: Option<&'a Bias<'a>>,
    pub(crate) dropout: Option<Dropout>,
}

impl Pass<'_> {
    pub(super) fn check(&self) {
        let (spec, seen) = (self.spec, self.plan.seen());
        assert!(self.plan.suits(seen, (spec, Precision::F32)), "a plan for another shape");
        let rows = seen.rows().rows();
        assert!(self.q.rows() == rows && self.q.width() >= spec.inner());
        assert_eq!((self.dy.rows(), self.dy.width()), (rows, spec.inner()));
        assert_eq!((self.log_sums.rows(), self.log_sums.width()), (rows, spec.heads));
        assert_eq!((self.along.rows(), self.along.width()), (rows, spec.heads));
        assert_eq!(self.kv.rows(), seen.source_rows().rows());
        assert!(self.keys + 2 * spec.kv_width() <= self.kv.width());
    }

    pub(super) fn keys_at(&self, x: &Tensor) -> u64 {
        x.values().at(self.keys)
    }

    pub(super) fn values_at(&self, x: &Tensor) -> u64 {
        x.values().at(self.keys + self.spec.kv_width())
    }

    /// The arguments of BACK_PARAMETERS.
    pub(super) fn arguments<'l>(&self, launch: Launch<'l>) -> Launch<'l> {
        // Tensors begin at multiples of more.
        let strides = [self.spec.head_dim, self.q.width(), self.kv.width(), self.keys];
        let aligned = strides.iter().all(|n| n % 4 == 0);
        let launch = launch
            .arg(self.q.values())
            .arg(self.keys_at(self.kv))
            .arg(self.values_at(self.kv))
            .arg(self.dy.values())
            .arg(self.log_sums.values())
            .arg(self.along.values());
        let launch = shape_args(launch, self.spec, self.bias)
            .size(self.q.width())
            .size(self.kv.width())
            .arg(i32::from(self.plan.seen().causal()))
            .arg(i32::from(aligned));
        drop_args(launch, self.dropout)
    }
}
