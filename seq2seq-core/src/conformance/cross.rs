//! Attention to an encoder's output.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::cross, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! cross::matches_reference(&backend)?;
//! cross::is_batch_invariant(&backend)?;
//! cross::weights_sum_to_one(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Backend, Precision, reference::Reference};
//! use seq2seq_core::conformance::{Op, Timed, cross::{Case, CrossAttend, Prepared}, groups::Groups};
//!
//! // Sources of seven and three tokens, each read by two hypotheses.
//! let groups = Groups { lengths: vec![7, 3], rows: vec![1; 4] };
//! let case = Case {
//!     groups, heads: 4, kv_heads: 4, head_dim: 8, sharpness: 1.0, precision: Precision::F32, seed: 1,
//! };
//! let mut prepared: Prepared<Reference> = CrossAttend::prepare(&Reference, &case)?;
//! let y = CrossAttend::call(&Reference, &mut prepared)?;
//! // A case that is run gives the weights as well: of each hypothesis and head one for each token.
//! let both = CrossAttend::run(&Reference, &case)?;
//! let (values, weights) = both.split_at(4 * case.spec().inner());
//! assert_eq!((Reference.download(&y)?, weights.len()), (values.to_vec(), 2 * 4 * (7 + 3)));
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::groups::Groups;
use super::precision::{Loss, precision, represent};
use super::tolerance::{self, Approx};
use super::values::{Profile, values};
use super::{Cases, Op, Outcome, Timed, bits, each, host, length, rows_of, within};
use crate::reference::{self, attention::Query, attention::Seen};
use crate::{AttentionSpec, CrossAttentionOps, HostTensor, Precision, Ragged, Result, SeqBackend};
use proptest::prelude::*;

/// An attention of groups of query rows to source sequences.
#[derive(Debug, Clone)]
pub struct Case {
    /// Who attends to what.
    pub groups: Groups,
    /// H
    pub heads: usize,
    /// G
    pub kv_heads: usize,
    /// D
    pub head_dim: usize,
    /// Multiplies the queries: 1 for soft weights, thousands for sharp ones.
    pub sharpness: f32,
    /// Of the products.
    pub precision: Precision,
    /// Of all values.
    pub seed: u64,
}

/// A case on a backend.
pub struct Prepared<B: CrossAttentionOps> {
    q: B::Tensor,
    rows: Ragged,
    memory: B::Memory,
    sources: Vec<usize>,
    spec: AttentionSpec,
}

impl<B: CrossAttentionOps> Prepared<B> {
    fn run(&self, backend: &B, weights: Option<&mut Vec<f32>>) -> Result<B::Tensor> {
        backend.cross_attend(&self.q, &self.rows, &self.memory, &self.sources, &self.spec, weights)
    }
}

/// An attention to sources.
pub(super) fn spec((heads, kv_heads): (usize, usize), head_dim: usize) -> AttentionSpec {
    AttentionSpec {
        heads,
        kv_heads,
        head_dim,
        scale: (head_dim as f32).sqrt().recip(),
        causal: false,
        rotary: None,
        dropout: 0.0,
        precision: Precision::F32,
    }
}

impl Case {
    /// The attention.
    pub fn spec(&self) -> AttentionSpec {
        AttentionSpec {
            precision: self.precision,
            ..spec((self.heads, self.kv_heads), self.head_dim)
        }
    }

    fn kv(&self) -> HostTensor {
        let (n, width) = (self.groups.source_rows().rows(), 2 * self.spec().kv_width());
        let mut kv = values(Profile::Normal, self.seed, n * width);
        represent(self.precision, self.seed, &mut kv);
        host(n, width, &kv)
    }

    fn q(&self) -> HostTensor {
        let (n, width) = (self.groups.group_rows().rows(), self.spec().inner());
        let mut q = values(Profile::Normal, self.seed + 1, n * width);
        q.iter_mut().for_each(|v| *v *= self.sharpness);
        represent(self.precision, self.seed, &mut q);
        host(n, width, &q)
    }

    /// The bounds of results and of weights.
    fn bounds(&self) -> (Vec<Approx>, Vec<Approx>) {
        let spec = self.spec();
        let width = spec.kv_width();
        let loss = Loss(spec.precision);
        let (q, kv) = (self.q().to_f32(), self.kv().to_f32());
        let (mut out, mut all_weights) = (Vec::new(), Vec::new());
        for (range, source) in self.groups.group_rows().ranges().zip(self.groups.sources()) {
            let positions = self.groups.source_rows().range(source);
            let rows =
                || kv[positions.start * 2 * width..positions.end * 2 * width].chunks(2 * width);
            let keys: Vec<f32> = rows().flat_map(|r| &r[..width]).copied().collect();
            let values: Vec<f32> = rows().flat_map(|r| &r[width..]).copied().collect();
            let sizes: Vec<f32> = keys.iter().map(|k| k.abs()).collect();
            let wide = loss.widen_keys(&sizes, &keys, false);
            let len = positions.len();
            let seen = Seen { keys: &keys, values: &values, len };
            let size = Seen { keys: &sizes, ..seen };
            let wide = Seen { keys: &wide, ..seen };
            for n in range {
                let q = &q[n * spec.inner()..(n + 1) * spec.inner()];
                let q_size: Vec<f32> = q.iter().map(|v| v.abs()).collect();
                let q_wide = loss.widen_queries(&q_size, q, &spec);
                for h in 0..spec.heads {
                    let query = |q| Query { q, h, position: 0 };
                    let scores = reference::attention::scores(query(q), &seen, &spec, None);
                    let sizes = reference::attention::scores(query(&q_size), &size, &spec, None);
                    let wides = reference::attention::scores(query(&q_wide), &wide, &spec, None);
                    let terms = spec.head_dim;
                    let scores: Vec<Approx> = (0..len)
                        .map(|j| {
                            let score = tolerance::score(scores[j], sizes[j], 0.0, terms, false);
                            loss.score(score, wides[j] - sizes[j], terms)
                        })
                        .collect();
                    let weights = loss.softmax(&scores);
                    out.extend((0..spec.head_dim).map(|i| {
                        let value = |j| Seen::head(&values, j, h, &spec)[i];
                        loss.weighted_sum(&weights, (0..len).map(value))
                    }));
                    all_weights.extend(weights);
                }
            }
        }
        (out, all_weights)
    }
}

/// [`CrossAttentionOps::cross_attend`], with weights.
pub struct CrossAttend;

impl CrossAttend {
    fn both<B: SeqBackend>(backend: &B, case: &Case) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut weights = Vec::new();
        let out = Self::prepare(backend, case)?.run(backend, Some(&mut weights))?;
        Ok((backend.download(&out)?, weights))
    }
}

impl Op for CrossAttend {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        let (mut out, weights) = Self::both(backend, case)?;
        out.extend(weights);
        Ok(out)
    }
}

impl Cases for CrossAttend {
    fn cases() -> BoxedStrategy<Case> {
        let length = prop_oneof![12 => length(), 1 => Just(301usize)];
        let groups = Groups::some(length, 6);
        let heads =
            proptest::sample::select(&[(1usize, 1usize), (2, 2), (3, 1), (4, 2), (5, 5)][..]);
        let head_dim = proptest::sample::select(&[1usize, 7, 8, 10, 12, 15, 16, 33, 64][..]);
        let sharpness = proptest::sample::select(&[1.0f32, 1.0, 0.0, 3000.0][..]);
        (groups, heads, head_dim, sharpness, precision(), 0..1000u64)
            .prop_map(|(groups, (heads, kv_heads), head_dim, sharpness, precision, seed)| Case {
                groups,
                heads,
                kv_heads,
                head_dim,
                sharpness,
                precision,
                seed,
            })
            .boxed()
    }
}

impl Timed for CrossAttend {
    const NAME: &'static str = "cross_attend";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = B::Tensor;

    /// One step of decoding over a short source and a long one.
    fn real() -> Vec<(String, Case)> {
        let step = |source: usize, beams: usize| Case {
            groups: Groups { lengths: vec![source], rows: vec![1; beams] },
            heads: 12,
            kv_heads: 12,
            head_dim: 64,
            sharpness: 1.0,
            precision: Precision::F32,
            seed: 1,
        };
        let named = |(s, b)| (format!("t5-base step, source {s}, {b} beams"), step(s, b));
        [(64, 1), (64, 4), (512, 1), (512, 4)].map(named).into()
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Prepared<B>> {
        let spec = case.spec();
        Ok(Prepared {
            q: backend.upload(&case.q())?,
            rows: case.groups.group_rows(),
            memory: backend.memory(
                &backend.upload(&case.kv())?,
                &case.groups.source_rows(),
                &spec,
            )?,
            sources: case.groups.sources(),
            spec,
        })
    }

    fn call<B: SeqBackend>(backend: &B, prepared: &mut Prepared<B>) -> Result<B::Tensor> {
        prepared.run(backend, None)
    }
}

/// Results and weights lie within their bounds; an empty source gives zeros.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(CrossAttend::cases(), |case| {
        let (out, weights) = CrossAttend::both(backend, case)?;
        let (out_bounds, weight_bounds) = case.bounds();
        within("cross_attend", &out_bounds, &out)?;
        within("weights of cross_attend", &weight_bounds, &weights)?;
        // Asking for weights must not change the result.
        let without = CrossAttend::prepare(backend, case)?.run(backend, None)?;
        bits("without weights", &out, &backend.download(&without)?)
    })
}

/// A row alone, with its source alone, gives the bits that it gives among the others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(CrossAttend::cases(), |case| {
        let (whole, whole_weights) = CrossAttend::both(backend, case)?;
        let mut weights = Vec::new();
        let (spec, q, kv) = (case.spec(), case.q(), case.kv());
        for (range, source) in case.groups.group_rows().ranges().zip(case.groups.sources()) {
            let positions = case.groups.source_rows().range(source);
            let one = Ragged::from_lengths([positions.len()]);
            let kv = backend.upload(&rows_of(&kv, positions))?;
            let memory = backend.memory(&kv, &one, &spec)?;
            for n in range {
                let q = backend.upload(&rows_of(&q, [n]))?;
                let row = Ragged::single_rows(1);
                let got =
                    backend.cross_attend(&q, &row, &memory, &[0], &spec, Some(&mut weights))?;
                let expected = &whole[n * spec.inner()..(n + 1) * spec.inner()];
                bits(&format!("row {n} alone"), expected, &backend.download(&got)?)?;
            }
        }
        bits("weights of rows alone", &whole_weights, &weights)
    })
}

/// The weights are appended to what the list holds, none is negative, and those of a row and head sum to 1.
pub fn weights_sum_to_one<B: SeqBackend>(backend: &B) -> Outcome {
    each(CrossAttend::cases(), |case| {
        let mut weights = vec![7.0f32];
        CrossAttend::prepare(backend, case)?.run(backend, Some(&mut weights))?;
        let mut rest = weights.as_slice();
        match rest.split_off_first() {
            Some(7.0) => {}
            _ => return super::fail("what the list of weights held is gone".into()),
        }
        for (range, source) in case.groups.group_rows().ranges().zip(case.groups.sources()) {
            let length = case.groups.lengths[source];
            for _ in 0..range.len() * case.heads {
                let Some(row) = rest.split_off(..length) else {
                    return super::fail(format!("weights end {} short", length - rest.len()));
                };
                let sum: f64 = row.iter().map(|&w| f64::from(w)).sum();
                let allowed = tolerance::gamma(length + 4);
                if length > 0 && ((sum - 1.0).abs() > allowed || row.iter().any(|w| *w < 0.0)) {
                    return super::fail(format!(
                        "weights sum to {sum} or one is negative: {row:?}"
                    ));
                }
            }
        }
        match rest.is_empty() {
            true => Ok(()),
            false => super::fail(format!("{} weights too many", rest.len())),
        }
    })
}
