//! The k best of a row, without sorting it.
//!
//! One pass in rising order of id keeps a list of candidates. When it is full it is cut to the k best, and the worst of
//! them becomes the bar: from then on whole vectors of scores below it are passed over. A score that only equals the bar has
//! a higher id than those that were kept, so it loses.

use crate::memory::Buffer;
use crate::simd::{Kernel, Simd};

/// A rank: lower is better. The score in an order-preserving code, high to low, above the id.
///
/// +0 and -0 are equal; every NaN is equal to every other and above all numbers.
pub(crate) fn rank(score: f32, id: usize) -> u64 {
    // Adding 0 makes -0 into +0.
    let bits = if score.is_nan() { f32::NAN } else { score + 0.0 }.to_bits();
    let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    (u64::from(!rising) << 32) | id as u64
}

/// The score of a rank.
pub(crate) fn score(rank: u64) -> f32 {
    let rising = !((rank >> 32) as u32);
    f32::from_bits(if rising >> 31 == 1 { rising & !(1 << 31) } else { !rising })
}

/// The id of a rank.
pub(crate) fn id(rank: u64) -> u32 {
    rank as u32
}

/// The best `k` of `scores`, best first. `k` is at most their number, and not 0.
pub(crate) struct Best<'a> {
    pub(crate) scores: &'a [f32],
    pub(crate) k: usize,
}

impl Kernel for Best<'_> {
    /// k ranks.
    type Output = Buffer<u64>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Buffer<u64> {
        let Self { scores, k } = self;
        let mut list = List { ranks: Buffer::scratch((2 * k).max(64)), len: 0, k, bar: None };
        for (i, part) in scores.chunks(S::LANES).enumerate() {
            if let Some(bar) = list.bar
                && part.len() == S::LANES
            {
                // Not "none is above": NaN is above every bar, and this is false for it.
                let x = s.load(part);
                if s.all(s.eq(s.min(x, s.splat(bar)), x)) {
                    continue;
                }
            }
            for (lane, &score) in part.iter().enumerate() {
                if list.bar.is_none_or(|bar| score > bar || score.is_nan()) {
                    list.add(rank(score, i * S::LANES + lane));
                }
            }
        }
        list.finish()
    }
}

/// Candidates.
struct List {
    ranks: Buffer<u64>,
    len: usize,
    k: usize,
    /// The worst score among the k best so far, once there were enough; never NaN.
    bar: Option<f32>,
}

impl List {
    fn add(&mut self, rank: u64) {
        if self.len == self.ranks.len() {
            let (_, worst, _) = self.ranks.select_nth_unstable(self.k - 1);
            // Nothing compares with NaN: a bar of NaN would let everything pass, as no bar does.
            self.bar = Some(score(*worst)).filter(|bar| !bar.is_nan());
            self.len = self.k;
        }
        self.ranks[self.len] = rank;
        self.len += 1;
    }

    fn finish(self) -> Buffer<u64> {
        let Self { mut ranks, len, k, .. } = self;
        ranks[..len].sort_unstable();
        let mut best = Buffer::scratch(k);
        best.copy_from_slice(&ranks[..k]);
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::dispatch;
    use seq2seq_core::reference::top_k::ranking;

    #[test]
    fn ranks_order_scores_and_ids() {
        let falling = [f32::NAN, f32::INFINITY, 1e30, 2.0, 1e-40, 0.0, -1e-40, -3.0, f32::MIN];
        for pair in falling.windows(2) {
            assert!(rank(pair[0], 9) < rank(pair[1], 0), "{pair:?}");
        }
        assert!(rank(1.0, 3) < rank(1.0, 4));
        assert_eq!(rank(-0.0, 7), rank(0.0, 7));
        assert_eq!(rank(-f32::NAN, 7), rank(f32::NAN, 7));
        for s in falling.into_iter().skip(1) {
            assert_eq!((score(rank(s, 5)), id(rank(s, 5))), (s, 5));
        }
    }

    #[test]
    fn the_best_are_those_of_a_full_sort() {
        let no = f32::NEG_INFINITY;
        let kinds: [fn(usize) -> f32; 5] = [
            |i| (i * 7919 % 10_007) as f32,
            |i| i as f32,
            |i| -(i as f32),
            |i| (i % 5) as f32 - 2.0,
            |i| if i % 3 == 0 { f32::NEG_INFINITY } else { 1.0 },
        ];
        for isa in Isa::available() {
            for kind in kinds {
                for n in [1, 3, 16, 70, 1000] {
                    let mut scores: Vec<f32> = (0..n).map(kind).collect();
                    for with_nan in [false, true] {
                        if with_nan {
                            scores[n / 2] = f32::NAN;
                            scores[n - 1] = f32::NAN;
                        }
                        for k in [1, 2, 10, 300, n].into_iter().filter(|&k| k <= n) {
                            let best = dispatch(isa, Best { scores: &scores, k });
                            let ids: Vec<u32> = best.iter().map(|&r| id(r)).collect();
                            assert_eq!(ids, ranking(&scores)[..k], "{isa} {k} of {n}");
                        }
                    }
                }
            }
            let best = dispatch(isa, Best { scores: &[no; 100], k: 90 });
            assert!(best.iter().enumerate().all(|(i, &r)| id(r) == i as u32));
        }
    }
}
