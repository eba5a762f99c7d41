//! Attention of training.

use super::angles::Angles;
use super::attention::{Bias, Paged};
use super::elementwise::drop_args;
use super::recurrent::at;
use super::{additive_back::by_source, column_threads};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::train::Dropout;
use seq2seq_core::{AttentionSpec, Ragged, Rows};
use std::ops::Range;

static ARTIFACT: Artifact = artifact!("attention_back");
static PROBABILITIES: Kernel = Kernel::new(&ARTIFACT, "attend_probabilities");
static DROPPED: Kernel = Kernel::new(&ARTIFACT, "attend_dropped");
static SCORES: Kernel = Kernel::new(&ARTIFACT, "attend_scores_back");
static QUERY: Kernel = Kernel::new(&ARTIFACT, "attend_query_back");
static KEYS: Kernel = Kernel::new(&ARTIFACT, "attend_keys_back");
static DISTANCES: Kernel = Kernel::new(&ARTIFACT, "attend_distances_back");
static TABLE: Kernel = Kernel::new(&ARTIFACT, "attend_table_back");
static ROTATE: Kernel = Kernel::new(&ARTIFACT, "attend_rotate");
static UNPAGE: Kernel = Kernel::new(&ARTIFACT, "attend_unpage");
/// Which the kernels are written for.
const THREADS: usize = 128;

/// Which keys each row sees, on the device.
pub(crate) struct Seen {
    spans: Buffer<u32>,
    places: Buffer<i32>,
    rows: usize,
    longest: usize,
    /// One past the last key that anyone sees.
    end: usize,
}

impl Seen {
    /// Row n, at position `places[n]` of its sequence, sees `spans[n]`.
    pub(crate) fn new(cuda: &Cuda, spans: &[Range<usize>], places: &[usize]) -> Result<Self> {
        assert_eq!(spans.len(), places.len());
        let flat: Vec<u32> = spans.iter().flat_map(|s| [s.start as u32, s.len() as u32]).collect();
        let at: Vec<i32> = places.iter().map(|&p| p as i32).collect();
        Ok(Self {
            spans: cuda.upload_values(&flat)?,
            places: cuda.upload_values(&at)?,
            rows: spans.len(),
            longest: spans.iter().map(Range::len).max().unwrap_or(0),
            end: spans.iter().map(|s| s.end).max().unwrap_or(0),
        })
    }
}

/// Queries, keys and values, rotated already. Keys and values stand in one tensor, keys from column `keys` on.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) q: &'a Tensor,
    pub(crate) kv: &'a Tensor,
    pub(crate) keys: usize,
    pub(crate) spec: &'a AttentionSpec,
    pub(crate) seen: &'a Seen,
    pub(crate) dropout: Option<Dropout>,
}

impl Pass<'_> {
    fn check(&self) {
        let (spec, seen) = (self.spec, self.seen);
        assert!(self.q.rows() == seen.rows && self.q.width() >= spec.inner());
        assert!(seen.end <= self.kv.rows());
        assert!(self.keys + 2 * spec.kv_width() <= self.kv.width());
    }

    fn probabilities_len(&self) -> usize {
        self.seen.rows * self.spec.heads * self.seen.longest
    }

    fn keys_at(&self, x: &Tensor) -> u64 {
        at(x.values(), self.keys)
    }

    fn values_at(&self, x: &Tensor) -> u64 {
        at(x.values(), self.keys + self.spec.kv_width())
    }

    /// A block for each row and head.
    fn launch<'k>(&self, cuda: &'k Cuda, kernel: &'k Kernel) -> Launch<'k> {
        Launch::new(cuda, kernel).grid(self.seen.rows, self.spec.heads, 1).block(THREADS)
    }

    /// Heads, query heads that share keys, width of a head.
    fn heads<'k>(&self, launch: Launch<'k>) -> Launch<'k> {
        let AttentionSpec { heads, kv_heads, head_dim, .. } = *self.spec;
        launch.size(heads).size(heads / kv_heads).size(head_dim)
    }

    /// The probabilities, `[N, H, longest]`, and ln Σ e^score, `[N, H]`.
    pub(crate) fn probabilities(
        &self,
        cuda: &Cuda,
        bias: Option<Bias<'_>>,
    ) -> Result<(Buffer<f32>, Tensor)> {
        self.check();
        let mut p = cuda.buffer(self.probabilities_len())?;
        let mut log_sums = cuda.tensor(self.seen.rows, self.spec.heads)?;
        let (table, reach) = bias.map_or((0, 0), |b| (b.table.address(), b.reach));
        let launch = self
            .launch(cuda, &PROBABILITIES)
            .arg(self.q.values())
            .arg(self.keys_at(self.kv))
            .arg(&self.seen.spans)
            .arg(&self.seen.places)
            .arg(table)
            .size(reach);
        let launch = self
            .heads(launch)
            .size(self.q.width())
            .size(self.kv.width())
            .size(self.seen.longest)
            .arg(self.spec.scale)
            .out(&mut p)
            .out(log_sums.values_mut());
        // SAFETY: sizes agree and spans lie inside, as was checked; the bias has a row for each head.
        unsafe { launch.run() }?;
        Ok((p, log_sums))
    }

    /// Σ m p v
    pub(crate) fn dropped(&self, cuda: &Cuda, p: &Buffer<f32>) -> Result<Tensor> {
        self.check();
        assert_eq!(p.len(), self.probabilities_len());
        let mut y = cuda.tensor(self.seen.rows, self.spec.inner())?;
        let launch = self.launch(cuda, &DROPPED).arg(p).arg(self.values_at(self.kv));
        let launch = self.heads(launch.arg(&self.seen.spans)).size(self.kv.width());
        let launch = drop_args(launch.size(self.seen.longest), self.dropout).out(y.values_mut());
        // SAFETY: as above.
        unsafe { launch.run() }?;
        Ok(y)
    }

    /// The gradients of the scores, `[N, H, longest]`.
    pub(crate) fn scores(&self, cuda: &Cuda, p: &Buffer<f32>, dy: &Tensor) -> Result<Buffer<f32>> {
        self.check();
        assert_eq!(p.len(), self.probabilities_len());
        assert_eq!((dy.rows(), dy.width()), (self.seen.rows, self.spec.inner()));
        let mut ds = cuda.buffer(p.len())?;
        let launch = self.launch(cuda, &SCORES).arg(p).arg(self.values_at(self.kv));
        let launch = launch.arg(dy.values()).arg(&self.seen.spans);
        let launch = self.heads(launch).size(self.kv.width()).size(self.seen.longest);
        let launch = drop_args(launch, self.dropout).out(&mut ds);
        // SAFETY: as above.
        unsafe { launch.run() }?;
        Ok(ds)
    }

    /// The gradient of the queries, into the first columns of `dq`, which is as wide as they are.
    pub(crate) fn query(&self, cuda: &Cuda, ds: &Buffer<f32>, dq: &mut Tensor) -> Result<()> {
        self.check();
        assert_eq!(ds.len(), self.probabilities_len());
        assert_eq!((dq.rows(), dq.width()), (self.q.rows(), self.q.width()));
        let launch = self.launch(cuda, &QUERY).arg(ds).arg(self.keys_at(self.kv));
        let launch = self
            .heads(launch.arg(&self.seen.spans))
            .size(self.q.width())
            .size(self.kv.width())
            .size(self.seen.longest)
            .arg(self.spec.scale)
            .out(dq.values_mut());
        // SAFETY: as above.
        unsafe { launch.run() }
    }

    /// The gradients of keys and values, where these stand in `dkv`. `rows` divides positions into sources; `sources[n]` is
    /// that of row n.
    pub(crate) fn keys(
        &self,
        cuda: &Cuda,
        (p, ds): (&Buffer<f32>, &Buffer<f32>),
        dy: &Tensor,
        (rows, sources): (&Ragged, &[usize]),
        dkv: &mut Tensor,
    ) -> Result<()> {
        self.check();
        assert_eq!([p.len(), ds.len()], [self.probabilities_len(); 2]);
        assert_eq!((dy.rows(), dy.width()), (self.seen.rows, self.spec.inner()));
        assert_eq!((dkv.rows(), dkv.width()), (self.kv.rows(), self.kv.width()));
        assert_eq!((rows.rows(), sources.len()), (self.kv.rows(), self.seen.rows));
        let of = (rows.ranges().enumerate())
            .flat_map(|(s, range)| (0..range.len()).flat_map(move |j| [s as u32, j as u32]));
        let of = cuda.upload_values(&of.collect::<Vec<u32>>())?;
        let (starts, list) = by_source(sources, rows.sequences());
        let (starts, list) = (cuda.upload_values(&starts)?, cuda.upload_values(&list)?);
        let launch = Launch::new(cuda, &KEYS)
            .grid(self.kv.rows(), self.spec.kv_heads, 1)
            .block(column_threads(self.spec.head_dim))
            .arg(p)
            .arg(ds)
            .arg(self.q.values())
            .arg(dy.values())
            .arg(&self.seen.spans)
            .arg(&of)
            .arg(&starts)
            .arg(&list);
        let launch = self
            .heads(launch)
            .size(self.q.width())
            .size(self.kv.width())
            .size(self.seen.longest)
            .arg(self.spec.scale);
        let (dk, dv) = (self.keys_at(dkv), self.values_at(dkv));
        let launch = drop_args(launch, self.dropout).arg(dk).arg(dv);
        // SAFETY: as above; every position has a source, and dkv is borrowed for writing.
        unsafe { launch.run() }
    }

    /// The gradient of the table of a relative bias, `[buckets, H]`, whose bucket of distance d is `bucket(d)`.
    pub(crate) fn table(
        &self,
        cuda: &Cuda,
        ds: &Buffer<f32>,
        bucket: impl Fn(isize) -> usize,
        (table, accumulate): (&mut Tensor, bool),
    ) -> Result<()> {
        assert_eq!((ds.len(), table.width()), (self.probabilities_len(), self.spec.heads));
        // Rows may stand anywhere in sequences as long as the longest, and see keys before and behind them.
        let longest = self.seen.longest as isize;
        let buckets: Vec<u32> = (1 - longest..longest).map(|d| bucket(d) as u32).collect();
        let (distances, heads) = (buckets.len(), self.spec.heads);
        let buckets = cuda.upload_values(&buckets)?;
        let mut by_distance = cuda.buffer::<f32>(distances * heads)?;
        let launch = Launch::new(cuda, &DISTANCES)
            .grid(distances, heads, 1)
            .block(THREADS)
            .arg(ds)
            .arg(&self.seen.spans)
            .arg(&self.seen.places)
            .size(self.seen.rows)
            .size(heads)
            .size(self.seen.longest)
            .out(&mut by_distance);
        // SAFETY: ds is [N, H, longest]; there is a place for each distance and head.
        unsafe { launch.run() }?;
        let launch = Launch::new(cuda, &TABLE)
            .grid(table.rows(), 1, 1)
            .block(column_threads(heads))
            .arg(&by_distance)
            .arg(&buckets)
            .size(distances)
            .size(heads)
            .arg(i32::from(accumulate))
            .out(table.values_mut());
        // SAFETY: each distance has a bucket; table is [buckets, H].
        unsafe { launch.run() }
    }
}

/// Rotates the first `heads` heads, `width` wide, of each row of `x` by the angles of its place, or back.
pub(crate) fn rotate(
    cuda: &Cuda,
    (angles, back): (&Angles, bool),
    seen: &Seen,
    (heads, width): (usize, usize),
    x: &mut Tensor,
) -> Result<()> {
    let (table, pairs) = Angles::of(Some(angles));
    assert!(x.rows() == seen.rows && heads * width <= x.width() && 2 * pairs <= width);
    let launch = Launch::new(cuda, &ROTATE)
        .grid(x.rows(), 1, 1)
        .block(column_threads(heads * pairs))
        .arg(&seen.places)
        .arg(table)
        .size(pairs)
        .size(heads)
        .size(width)
        .size(x.width())
        .arg(i32::from(back))
        .out(x.values_mut());
    // SAFETY: the heads lie inside a row; the caller's angles reach as far as the places.
    unsafe { launch.run() }
}

/// Keys and values as they were before they were laid out in pages: `[N, 2 G D]`. `of` has for each position the first page
/// of its source in the table, and its place there.
///
/// # Safety
/// The pages are allocated, in f32, of one layer, and hold every position; the table has one a chunk.
pub(crate) unsafe fn unpage(
    cuda: &Cuda,
    paged: &Paged<'_>,
    of: &[[u32; 2]],
    spec: &AttentionSpec,
) -> Result<Tensor> {
    let mut kv = cuda.tensor(of.len(), 2 * spec.kv_width())?;
    let places = cuda.upload_values(of)?;
    let launch = Launch::new(cuda, &UNPAGE)
        .grid(of.len(), 1, 1)
        .block(column_threads(spec.kv_width()))
        .arg(paged.table)
        .arg(paged.layer)
        .arg(&places)
        .size(spec.kv_heads)
        .size(spec.head_dim)
        .out(kv.values_mut());
    // SAFETY: kv has a row for each position; the rest is the caller's promise.
    unsafe { launch.run() }?;
    Ok(kv)
}
