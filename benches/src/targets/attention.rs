//! Attention over batches as encoders have them, bidirectional, in bf16 where the backend multiplies so, forward and back.
//!
//! Queries, keys and values come packed in f32 and the result goes in f32, as in a model; what is rounded counts.

use super::Size;
use crate::bench::{Bench, Call};
use crate::training::{attention::spec, data};
use crate::work::{SOFTMAX, Work};
use seq2seq_core::train::{AttendBackward as Of, Gradient, TrainBackend};
use seq2seq_core::{AttentionSpec, Precision, Ragged, Result};

const PRECISION: Precision = Precision::Bf16;

/// Whole sequences that attend to themselves.
#[derive(Debug, Clone)]
pub struct Case {
    /// Of each sequence.
    pub lengths: Vec<usize>,
    /// H
    pub heads: usize,
    /// D
    pub head_dim: usize,
}

impl Case {
    /// A batch of different lengths, and one of equal lengths with as many sequences, with heads of 64 and of 128.
    pub fn all(size: &Size) -> Vec<(String, Self)> {
        let (n, least) = (size.sequences, size.least);
        let ragged: Vec<usize> = (1..=n).map(|i| i * least).collect();
        let equal = vec![n * least / 4; n];
        let of = |(heads, head_dim): (usize, usize)| {
            [
                (format!("{n} of {least} to {}", n * least), &ragged),
                (format!("{n} of {}", equal[0]), &equal),
            ]
            .map(|(name, lengths)| {
                let name = format!("{name}, {heads} heads of {head_dim}");
                (name, Self { lengths: lengths.clone(), heads, head_dim })
            })
        };
        [(12, 64), (16, 128)].into_iter().flat_map(of).collect()
    }

    fn rows(&self) -> Ragged {
        Ragged::from_lengths(self.lengths.clone())
    }

    fn spec(&self) -> AttentionSpec {
        spec((self.heads, self.head_dim), false, PRECISION)
    }

    /// Pairs of query and key, of all heads.
    fn scores(&self) -> usize {
        self.heads * self.lengths.iter().map(|n| n * n).sum::<usize>()
    }

    /// Values of a tensor `[N, H D]`.
    fn values(&self) -> usize {
        self.lengths.iter().sum::<usize>() * self.heads * self.head_dim
    }

    /// `[N, 3 H D]`
    fn qkv<B: TrainBackend>(&self, backend: &B, spec: &AttentionSpec) -> Result<B::Tensor> {
        data::rows(backend, 1, [self.lengths.iter().sum(), spec.qkv_width()])
    }
}

/// Forward.
pub struct Forward;

/// As the suite's.
impl Bench for Forward {
    const NAME: &'static str = "attend";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let operations = case.scores() * (4 * case.head_dim + SOFTMAX);
        Work::attention(PRECISION, operations, 4 * case.values(), 0)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, rows, spec) = (backend.clone(), case.rows(), case.spec());
        let qkv = case.qkv(&backend, &spec)?;
        Ok(Box::new(move || backend.attend(&qkv, &rows, &spec, None).map(drop)))
    }
}

/// Back.
pub struct Back;

/// The least that it needs: ten operations a score and column, though kernels of ours take 14.
impl Bench for Back {
    const NAME: &'static str = "attend_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let operations = case.scores() * (10 * case.head_dim + 4) + 2 * case.values();
        Work::attention(PRECISION, operations, 8 * case.values(), 0)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, rows, spec) = (backend.clone(), case.rows(), case.spec());
        let qkv = case.qkv(&backend, &spec)?;
        let dy = data::rows(&backend, 2, [rows.rows(), spec.inner()])?;
        let (y, log_sums) = backend.attend_forward(&qkv, &rows, &spec, None, None)?;
        Ok(Box::new(move || {
            let (qkv, y, log_sums, rows, spec, dy) = (&qkv, &y, &log_sums, &rows, &spec, &dy);
            let of = Of { qkv, y, log_sums, rows, spec, bias: None, dropout: None, dy };
            let mut dqkv: Gradient<_> = None;
            backend.attend_backward(&of, Some(&mut dqkv), None)
        }))
    }
}
