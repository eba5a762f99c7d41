//! Drawing one id a row: rules, warps, softmax, inverse of the cumulative distribution.
//!
//! The warps are those of transformers (`seq2seq_core::reference::sample` defines them). Each drops candidates; what is
//! left is kept packed, in rising order of id, so that behind a top-k the rest is a matter of fifty values. Exponentials
//! are f32 of the level, their sums f64.

use crate::isa::Isa;
use crate::kernels::choose::{Best, id, rank, score};
use crate::kernels::log_softmax::{Measure, Weigh};
use crate::memory::{Buffer, Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::backend::check;
use seq2seq_core::{LogitRule, Result, Rows, Sampled, Warp, reference::rules};

pub(crate) fn sample(
    cpu: &Cpu,
    logits: &Tensor,
    (rule_lists, uniforms): (&[Vec<LogitRule>], &[f32]),
    warp: &Warp,
) -> Result<Sampled> {
    check::sample(logits, rule_lists, warp, uniforms)?;
    let rows = logits.rows();
    let mut out = Sampled { ids: vec![0; rows], scores: vec![f32::NAN; rows] };
    let parts = (Chunks::new(&mut out.ids, 1), Chunks::new(&mut out.scores, 1));
    cpu.threads().each_part(parts, 8 * logits.width(), |n, (out_id, out_score)| {
        let rules = rule_lists.get(n).map_or(&[][..], Vec::as_slice);
        let mut scores = Buffer::scratch(logits.width());
        scores.copy_from_slice(logits.row(n));
        rules::apply(rules, &mut scores);
        if !has_distribution(&scores) {
            return;
        }
        let candidates = Candidates::new(cpu.isa(), scores, warp);
        if let Some((id, score)) = candidates.draw(f64::from(uniforms[n])) {
            (out_id[0], out_score[0]) = (id, score);
        }
    });
    // A drawn id has a log-probability that is a number.
    match out.scores.iter().position(|score| score.is_nan()) {
        None => Ok(out),
        Some(row) => Err(check::nothing_to_draw(row)),
    }
}

/// Whether no score is NaN or plus infinity.
pub(super) fn has_distribution(scores: &[f32]) -> bool {
    scores.iter().all(|&s| s < f32::INFINITY)
}

/// The ids of one row that may be drawn, in rising order, with their scores.
pub(super) struct Candidates {
    isa: Isa,
    ids: Buffer<u32>,
    scores: Buffer<f32>,
    len: usize,
}

/// Probabilities of the candidates.
struct Distribution {
    /// e^(score - largest)
    weights: Buffer<f32>,
    /// Their sum.
    total: f64,
    largest: f32,
}

impl Distribution {
    fn probability(&self, i: usize) -> f64 {
        f64::from(self.weights[i]) / self.total
    }

    /// ln of the probability of a score, which may be too small for [`probability`](Self::probability) to tell from 0.
    fn log_probability(&self, score: f32) -> f64 {
        f64::from(score) - f64::from(self.largest) - self.total.ln()
    }
}

impl Candidates {
    /// What the warps leave of a row that has a distribution: nothing where all its scores are minus infinity.
    pub(super) fn new(isa: Isa, mut scores: Buffer<f32>, warp: &Warp) -> Self {
        scores.iter_mut().for_each(|s| *s /= warp.temperature);
        let mut ids = Buffer::scratch(scores.len());
        ids.iter_mut().zip(0..).for_each(|(id, i)| *id = i);
        let mut this = Self { isa, ids, len: scores.len(), scores };
        let lowest = match warp.top_k {
            0 => f32::NEG_INFINITY,
            k => score(this.kth(k.max(warp.min_keep))),
        };
        this.keep(|_, score| score >= lowest && score > f32::NEG_INFINITY);
        if this.len > 0 {
            this.warp(warp);
        }
        this
    }

    /// The warps behind temperature and top-k.
    fn warp(&mut self, warp: &Warp) {
        let min_keep = warp.min_keep;
        if warp.top_p < 1.0 {
            self.top_p(f64::from(warp.top_p), min_keep);
        }
        if warp.min_p > 0.0 {
            let (p, last) = (self.distribution(), self.kth(min_keep));
            let least = f64::from(warp.min_p) / p.total;
            self.keep(|i, score| p.probability(i) >= least || rank(score, i) <= last);
        }
        if warp.typical_p < 1.0 {
            self.typical(f64::from(warp.typical_p), min_keep);
        }
        if warp.epsilon_cutoff > 0.0 {
            let p = self.distribution();
            self.cut(&p, f64::from(warp.epsilon_cutoff), min_keep);
        }
        if warp.eta_cutoff > 0.0 {
            let p = self.distribution();
            let eta = f64::from(warp.eta_cutoff);
            self.cut(&p, eta.min(eta.sqrt() * (-self.entropy(&p)).exp()), min_keep);
        }
    }

    /// The ids that are left, in rising order.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids[..self.len]
    }

    /// Their scores.
    pub(super) fn scores(&self) -> &[f32] {
        &self.scores[..self.len]
    }

    /// Turns the scores into log-probabilities.
    pub(super) fn normalise(&mut self) {
        let norm = dispatch(self.isa, Measure(self.scores()));
        norm.apply(&mut self.scores[..self.len]);
    }

    /// Drops the candidates that `keep(index, score)` refuses.
    fn keep(&mut self, keep: impl Fn(usize, f32) -> bool) {
        let mut kept = 0;
        for i in 0..self.len {
            if keep(i, self.scores[i]) {
                (self.ids[kept], self.scores[kept]) = (self.ids[i], self.scores[i]);
                kept += 1;
            }
        }
        self.len = kept;
    }

    fn distribution(&self) -> Distribution {
        let norm = dispatch(self.isa, Measure(self.scores()));
        let mut weights = Buffer::scratch(self.len);
        let (scores, largest) = (self.scores(), norm.largest);
        dispatch(self.isa, Weigh { scores, largest, weights: &mut weights });
        Distribution { weights, total: norm.total, largest }
    }

    /// The rank of the k-th best, or of the last where there are fewer. There must be one.
    fn kth(&self, k: usize) -> u64 {
        let k = k.min(self.len);
        dispatch(self.isa, Best { scores: self.scores(), k })[k - 1]
    }

    /// From the least probable upwards, drops while the sum of what is dropped is at most 1 - p; never the last
    /// `min_keep`. Of equal scores, lower ids go first.
    fn top_p(&mut self, p: f64, min_keep: usize) {
        let distribution = self.distribution();
        let mut order = Buffer::<u64>::scratch(self.len);
        // The score falls from rank to rank, so the rank of its negative rises with it; ids rise in both.
        for (i, (rank_of, score)) in order.iter_mut().zip(self.scores()).enumerate() {
            *rank_of = rank(-score, i);
        }
        order.sort_unstable();
        let mut dropped = Buffer::<u8>::zeroed(self.len);
        let mut sum = 0.0;
        for &rank in &order[..self.len.saturating_sub(min_keep)] {
            let i = id(rank) as usize;
            sum += distribution.probability(i);
            if sum > 1.0 - p {
                break;
            }
            dropped[i] = 1;
        }
        self.keep(|i, _| dropped[i] == 0);
    }

    /// -Σ p ln p
    fn entropy(&self, p: &Distribution) -> f64 {
        let term = |(i, &score): (usize, &f32)| p.probability(i) * p.log_probability(score);
        -self.scores().iter().enumerate().map(term).sum::<f64>()
    }

    /// Keeps those nearest to the entropy in their information, up to the probability `mass`, and all that tie with the
    /// last; at least the first `min_keep`.
    fn typical(&mut self, mass: f64, min_keep: usize) {
        let p = self.distribution();
        let entropy = self.entropy(&p);
        let shift = |score: f32| (-p.log_probability(score) - entropy).abs();
        let mut order = Buffer::<u32>::scratch(self.len);
        order.iter_mut().zip(0..).for_each(|(o, i)| *o = i);
        let of = |i: u32| shift(self.scores[i as usize]);
        order.sort_unstable_by(|&a, &b| of(a).total_cmp(&of(b)).then(a.cmp(&b)));
        let mut sum = 0.0;
        let reached = order.iter().find(|&&i| {
            sum += p.probability(i as usize);
            sum >= mass
        });
        let Some(last) = reached.or(order.last()).map(|&i| of(i)) else { return };
        let first = &order[..min_keep.min(self.len)];
        self.keep(|i, score| shift(score) <= last || first.contains(&(i as u32)));
    }

    /// Drops probabilities below `least`, but never the `min_keep` best scores and their equals.
    fn cut(&mut self, p: &Distribution, least: f64, min_keep: usize) {
        let kept = score(self.kth(min_keep));
        self.keep(|i, score| p.probability(i) >= least || score >= kept);
    }

    /// The first id at which the cumulative probability exceeds `uniform`, and its log-probability. Where rounding keeps the
    /// sum from exceeding it, the last that is possible.
    fn draw(&self, uniform: f64) -> Option<(u32, f32)> {
        let p = self.distribution();
        let (bar, mut sum) = (uniform * p.total, 0.0);
        let possible = (0..self.len).filter(|&i| p.weights[i] > 0.0);
        let mut last = None;
        for i in possible {
            sum += f64::from(p.weights[i]);
            last = Some((self.ids[i], p.log_probability(self.scores[i]) as f32));
            if sum > bar {
                break;
            }
        }
        last
    }
}
