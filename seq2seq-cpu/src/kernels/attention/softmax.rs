//! The softmax of one vector of scores, up to its last division.

use super::BLOCK;
use super::bias;
use crate::simd::{Simd, math};

/// Replaces the first `limit` scores, bias added, by e^(score - largest) and gives the inverse of their sum, 0 where there
/// are none, and the largest. Values up to the end of the last block become 0.
///
/// Lane i of the sum is that of positions i, i + lanes, …: how many blocks follow the limit does not matter.
#[inline(always)]
pub(crate) fn row<S: Simd>(
    s: S,
    scores: &mut [f32],
    limit: usize,
    bias: Option<bias::Seen<'_>>,
) -> (f32, f32) {
    if limit == 0 {
        return (0.0, f32::NEG_INFINITY);
    }
    let scores = &mut scores[..limit.next_multiple_of(BLOCK)];
    if let Some(bias) = bias {
        for (i, part) in scores.chunks_exact_mut(S::LANES).enumerate() {
            s.store(s.add(s.load(part), bias.at(s, i * S::LANES)), part);
        }
    }
    scores[limit..].fill(f32::NEG_INFINITY);
    let mut largest = s.splat(f32::NEG_INFINITY);
    for part in scores.chunks_exact(S::LANES) {
        largest = s.max(largest, s.load(part));
    }
    let highest = s.reduce_max(largest);
    let largest = s.splat(highest);
    let mut sum = s.zero();
    for part in scores.chunks_exact_mut(S::LANES) {
        let e = math::exp(s, s.sub(s.load(part), largest));
        sum = s.add(sum, e);
        s.store(e, part);
    }
    // Where the largest is infinite, or a score is NaN, so is the sum.
    (1.0 / s.reduce_add(sum), highest)
}
