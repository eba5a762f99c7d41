//! Back through attention in bf16, on the matrix units: what its kernels are given.

use super::attention::{Bias, Paged};
use super::attention_back::shape_args;
use super::attention_back_plan::Plan;
use super::attention_back_rows::Rounded;
use super::elementwise::drop_args;
use super::kv_store::CHUNK;
use crate::launch::Launch;
use seq2seq_core::train::Dropout;
use seq2seq_core::{AttentionSpec, Precision};

/// Threads of a block.
pub(super) const THREADS: usize = 128;
/// Keys of a block, or vectors.
pub(super) const TILE: usize = CHUNK;
/// Bytes of what is known of a vector of a tile.
pub(super) const VECTOR: usize = 20;

/// Queries and the gradient of the result, rounded; keys and values, rounded and in pages, each source from the page that the plan says.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) rounded: &'a Rounded,
    pub(crate) paged: Paged<'a>,
    pub(crate) spec: &'a AttentionSpec,
    pub(crate) plan: &'a Plan,
    pub(crate) bias: Option<&'a Bias<'a>>,
    pub(crate) dropout: Option<Dropout>,
}

impl Pass<'_> {
    pub(super) fn check(&self) {
        let (spec, seen) = (self.spec, self.plan.seen());
        assert!(self.plan.suits(seen, (spec, Precision::Bf16)), "a plan for another shape");
        assert_eq!((self.paged.precision, self.paged.by_position), (Precision::Bf16, false));
        let (vectors, pieces) = (seen.rows().rows() * spec.heads, spec.head_dim.div_ceil(8));
        // Kernels count vectors in 32 bits, as dropout does.
        assert!(vectors <= u32::MAX as usize && self.rounded.sums.len() == vectors);
        assert_eq!(self.rounded.q.len(), vectors * pieces);
        assert_eq!(self.rounded.dy.len(), vectors * pieces);
    }

    /// The arguments of BACK_PARAMETERS.
    pub(super) fn arguments<'l>(&self, launch: Launch<'l>) -> Launch<'l> {
        let launch = launch
            .arg(&self.rounded.q)
            .arg(&self.rounded.dy)
            .arg(&self.rounded.sums)
            .arg(self.paged.table)
            .arg(self.paged.layer);
        let launch =
            shape_args(launch, self.spec, self.bias).arg(i32::from(self.plan.seen().causal()));
        drop_args(launch, self.dropout)
    }
}
