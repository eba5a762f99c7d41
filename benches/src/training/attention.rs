//! Attention within sequences and to a memory, in f32 and where a backend may round to bf16.

use super::{DROPOUT, DROPPING, Size, Training, data};
use crate::bench::{Bench, Call};
use crate::work::{SOFTMAX, Work};
use seq2seq_core::train::{
    AttendBackward as Of, CrossBackward as CrossOf, Dropout, Gradient, TrainBackend,
};
use seq2seq_core::{AttentionSpec, BucketSpec, Precision, Ragged, Result};

/// T5's.
const BUCKETS: BucketSpec = BucketSpec { buckets: 32, max_distance: 128, bidirectional: true };

/// An attention over sequences of one length; to a memory, of targets to sources of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    heads: usize,
    head_dim: usize,
    sequences: usize,
    length: usize,
    /// Positions of each source.
    source: usize,
    causal: bool,
    buckets: bool,
    dropout: bool,
    precision: Precision,
}

impl Case {
    fn plain(size: &Size, sequences: usize, length: usize) -> Self {
        Self {
            heads: size.heads,
            head_dim: size.width / size.heads,
            sequences,
            length,
            source: length,
            causal: false,
            buckets: false,
            dropout: false,
            precision: Precision::F32,
        }
    }

    fn spec(&self) -> AttentionSpec {
        spec((self.heads, self.head_dim), self.causal, self.precision)
    }

    fn rows(&self) -> Ragged {
        Ragged::from_lengths(vec![self.length; self.sequences])
    }

    fn source_rows(&self) -> Ragged {
        Ragged::from_lengths(vec![self.source; self.sequences])
    }

    fn dropout(&self) -> Option<Dropout> {
        self.dropout.then_some(DROPOUT)
    }

    /// H D
    fn inner(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of a tensor `[N, H D]`.
    fn values(&self) -> usize {
        self.sequences * self.length * self.inner()
    }

    /// Values of keys and values of all sources.
    fn memory(&self) -> usize {
        2 * self.sequences * self.source * self.inner()
    }

    /// One for each row and head.
    fn log_sums(&self) -> usize {
        self.sequences * self.length * self.heads
    }

    /// Values of the table of biases.
    fn table(&self) -> usize {
        if self.buckets { BUCKETS.buckets * self.heads } else { 0 }
    }

    /// Pairs of query and key, of all heads.
    fn scores(&self) -> usize {
        let pairs = match self.causal {
            true => self.length * (self.length + 1) / 2,
            false => self.length * self.source,
        };
        self.sequences * self.heads * pairs
    }

    /// A score and its share of the result are 4 · D operations, its softmax, its bias and its dropout some more.
    fn forward(&self) -> usize {
        let each = 4 * self.head_dim + SOFTMAX + usize::from(self.buckets) + self.dropping();
        self.scores() * each
    }

    /// The score again, its gradient and three products with it are 10 · D operations. Then, a score: the difference and exp
    /// of the probability, the difference and product of its gradient, bias and table, dropout of probability and gradient;
    /// and for each query Σ dy · y, which is Σ p dp.
    fn backward(&self) -> usize {
        let dropping = if self.dropout { DROPPING + 1 } else { 0 };
        let each = 10 * self.head_dim + 4 + 2 * usize::from(self.buckets) + dropping;
        self.scores() * each + 2 * self.values()
    }

    fn dropping(&self) -> usize {
        if self.dropout { DROPPING } else { 0 }
    }

    /// Tensors are f32 in either precision.
    fn work(&self, operations: usize, values: usize) -> Work {
        Work::attention(self.precision, operations, values, 0)
    }

    fn bias<B: TrainBackend>(&self, backend: &B) -> Result<Option<B::RelativeBias>> {
        let table = || data::host(5, [BUCKETS.buckets, self.heads], 1.0);
        let bias = || backend.relative_bias(&table()?, BUCKETS);
        self.buckets.then(bias).transpose()
    }
}

/// Attention without rotation, in which each head of queries has keys and values of its own.
pub(crate) fn spec(
    (heads, head_dim): (usize, usize),
    causal: bool,
    precision: Precision,
) -> AttentionSpec {
    AttentionSpec {
        heads,
        kv_heads: heads,
        head_dim,
        scale: (head_dim as f32).sqrt().recip(),
        causal,
        rotary: None,
        dropout: 0.0,
        precision,
    }
}

fn with_dropout(cases: Vec<(String, Case)>) -> Vec<(String, Case)> {
    let both = |(name, case): (String, Case)| {
        let dropped = (format!("{name}, dropout"), Case { dropout: true, ..case });
        [(name, case), dropped]
    };
    cases.into_iter().flat_map(both).collect()
}

fn in_bf16((name, case): (String, Case)) -> (String, Case) {
    (format!("{name}, bf16"), Case { precision: Precision::Bf16, ..case })
}

/// Three models; the sequences of a batch are many, or few and long. In bf16 what is long, and T5.
fn within(size: &Size) -> Vec<(String, Case)> {
    let (few, long) = ((size.sequences / 4).max(1), 4 * size.source);
    let case = |sequences, length| Case::plain(size, sequences, length);
    let named =
        |model: &str, case: Case| (format!("{model}, {} of {}", case.sequences, case.length), case);
    let many = named("bert-base", case(size.sequences, size.source));
    let models = [
        named("bert-base", case(few, long)),
        named("t5-base", Case { buckets: true, ..case(size.sequences, size.source) }),
        named("gpt-2", Case { causal: true, ..case(1, size.rows()) }),
    ];
    let rounded = models.clone().map(in_bf16);
    with_dropout([many].into_iter().chain(models).chain(rounded).collect())
}

fn across(size: &Size) -> Vec<(String, Case)> {
    let case = Case::plain(size, size.sequences, size.target);
    let name = format!("t5-base, {} of {} to {}", case.sequences, case.length, size.source);
    let case = (name, Case { source: size.source, ..case });
    with_dropout(vec![case.clone(), in_bf16(case)])
}

/// Once a step for T5's table.
pub(super) struct RenewRelativeBias;

impl Training for RenewRelativeBias {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        vec![("t5-base".into(), Case { buckets: true, ..Case::plain(size, 1, 1) })]
    }
}

/// A copy.
impl Bench for RenewRelativeBias {
    const NAME: &'static str = "renew_relative_bias";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(0, 2 * case.table())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let backend = backend.clone();
        let table = data::rows(&backend, 6, [BUCKETS.buckets, case.heads])?;
        let host = data::host(5, [BUCKETS.buckets, case.heads], 1.0)?;
        let mut bias = backend.relative_bias(&host, BUCKETS)?;
        Ok(Box::new(move || backend.renew_relative_bias(&mut bias, &table)))
    }
}

/// Within sequences.
pub(super) struct AttendForward;

impl Training for AttendForward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        within(size)
    }
}

/// That of [`attend`](seq2seq_core::EncoderOps::attend).
impl Bench for AttendForward {
    const NAME: &'static str = "attend_forward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        case.work(case.forward(), 4 * case.values() + case.log_sums() + case.table())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, case, rows) = (backend.clone(), *case, case.rows());
        let (spec, bias) = (case.spec(), case.bias(&backend)?);
        let qkv = data::rows(&backend, 1, [rows.rows(), spec.qkv_width()])?;
        Ok(Box::new(move || {
            backend.attend_forward(&qkv, &rows, &spec, bias.as_ref(), case.dropout()).map(drop)
        }))
    }
}

/// Within sequences.
pub(super) struct AttendBackward;

impl Training for AttendBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        within(size)
    }
}

/// Query, key and value are read, and their gradients written; so are result and table.
impl Bench for AttendBackward {
    const NAME: &'static str = "attend_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let values = (3 + 3 + 2) * case.values() + case.log_sums() + 2 * case.table();
        case.work(case.backward(), values)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, case, rows) = (backend.clone(), *case, case.rows());
        let (spec, bias) = (case.spec(), case.bias(&backend)?);
        let qkv = data::rows(&backend, 1, [rows.rows(), spec.qkv_width()])?;
        let dy = data::rows(&backend, 2, [rows.rows(), spec.inner()])?;
        let (y, log_sums) =
            backend.attend_forward(&qkv, &rows, &spec, bias.as_ref(), case.dropout())?;
        Ok(Box::new(move || {
            let of = Of {
                qkv: &qkv,
                y: &y,
                log_sums: &log_sums,
                rows: &rows,
                spec: &spec,
                bias: bias.as_ref(),
                dropout: case.dropout(),
                dy: &dy,
            };
            let (mut dqkv, mut table): (Gradient<_>, Gradient<_>) = (None, None);
            let wanted = case.buckets.then_some(&mut table);
            backend.attend_backward(&of, Some(&mut dqkv), wanted)
        }))
    }
}

/// Targets to sources.
struct Across<B: TrainBackend> {
    q: B::Tensor,
    kv: B::Tensor,
    rows: Ragged,
    source_rows: Ragged,
    memory: B::Memory,
    sources: Vec<usize>,
    spec: AttentionSpec,
}

impl<B: TrainBackend> Across<B> {
    fn new(backend: &B, case: &Case) -> Result<Self> {
        let (rows, source_rows, spec) = (case.rows(), case.source_rows(), case.spec());
        let kv = data::rows(backend, 2, [source_rows.rows(), 2 * spec.kv_width()])?;
        Ok(Self {
            q: data::rows(backend, 1, [rows.rows(), spec.inner()])?,
            memory: backend.memory(&kv, &source_rows, &backend.trained_attention(&spec))?,
            kv,
            rows,
            source_rows,
            sources: (0..case.sequences).collect(),
            spec,
        })
    }

    fn forward(&self, backend: &B, dropout: Option<Dropout>) -> Result<(B::Tensor, B::Tensor)> {
        let Self { q, rows, memory, sources, spec, .. } = self;
        backend.cross_attend_forward(q, rows, memory, sources, spec, dropout)
    }
}

/// To a memory.
pub(super) struct CrossAttendForward;

impl Training for CrossAttendForward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        across(size)
    }
}

/// That of [`cross_attend`](seq2seq_core::CrossAttentionOps::cross_attend).
impl Bench for CrossAttendForward {
    const NAME: &'static str = "cross_attend_forward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        case.work(case.forward(), 2 * case.values() + case.memory() + case.log_sums())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, dropout, of) = (backend.clone(), case.dropout(), Across::new(backend, case)?);
        Ok(Box::new(move || of.forward(&backend, dropout).map(drop)))
    }
}

/// To a memory.
pub(super) struct CrossAttendBackward;

impl Training for CrossAttendBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        across(size)
    }
}

/// Query, result and its gradient are read, that of the query is written; keys and values are read, and theirs written.
impl Bench for CrossAttendBackward {
    const NAME: &'static str = "cross_attend_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        case.work(case.backward(), 4 * case.values() + 2 * case.memory() + case.log_sums())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, dropout, p) = (backend.clone(), case.dropout(), Across::new(backend, case)?);
        let dy = data::rows(&backend, 3, [p.rows.rows(), p.spec.inner()])?;
        let (y, log_sums) = p.forward(&backend, dropout)?;
        Ok(Box::new(move || {
            let of = CrossOf {
                q: &p.q,
                y: &y,
                log_sums: &log_sums,
                rows: &p.rows,
                kv: &p.kv,
                source_rows: &p.source_rows,
                memory: &p.memory,
                sources: &p.sources,
                spec: &p.spec,
                dropout,
                dy: &dy,
            };
            let (mut dq, mut dkv): (Gradient<_>, Gradient<_>) = (None, None);
            backend.cross_attend_backward(&of, Some(&mut dq), Some(&mut dkv))
        }))
    }
}
