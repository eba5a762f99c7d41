//! Attention within whole sequences.

use crate::Cuda;
use crate::kernels::angles::Angles;
use crate::kernels::attention::{Attention, Bias, Extra, Paged, WIDEST};
use crate::kernels::attention_plan::{Span, Work};
use crate::kernels::kv_store::{self, CHUNK, PageShape, Places, first_pages};
use crate::memory::{Buffer, Table, Tensor, Together};
use seq2seq_core::{
    AttentionSpec, BucketSpec, Error, HostTensor, Precision, Ragged, Result, Rows, backend::check,
};
use std::ops::Range;
use std::sync::Arc;

/// A bias for each head and distance, in the device's memory.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{AttentionSpec, Backend, BucketSpec, EncoderOps, HostTensor, Precision, Ragged};
/// use seq2seq_cuda::RelativeBias;
///
/// // One head. The first bucket is for the key at the query's own position, the last for one behind it.
/// let table = HostTensor::from_f32(vec![4, 1], &[0.0, 9.0, 9.0, 3.0f32.ln()])?;
/// let buckets = BucketSpec { buckets: 4, max_distance: 8, bidirectional: true };
/// assert_eq!([buckets.bucket(0), buckets.bucket(1)], [0, 3]);
/// let bias: RelativeBias = cuda.relative_bias(&table, buckets)?;
///
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Queries and keys of 0, so that the bias alone tells how much each value counts.
/// let qkv = cuda.upload(&HostTensor::from_f32(vec![2, 3], &[0.0, 0.0, 4.0, 0.0, 0.0, 8.0])?)?;
/// let y = cuda.attend(&qkv, &Ragged::from_lengths([2]), &spec, Some(&bias))?;
/// assert!((cuda.download(&y)?[0] - 7.0).abs() < 1e-5); // 1/4 of 4 and 3/4 of 8
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct RelativeBias {
    spec: BucketSpec,
    heads: usize,
    /// Beyond this distance, either way, the bias stays as it is.
    reach: usize,
    /// `[H, 2 reach + 1]`, the key furthest before the query first.
    table: Buffer<f32>,
}

/// Distances that a table of biases may have, either way.
const MOST_REACH: usize = 1 << 20;

impl RelativeBias {
    pub(crate) fn new(cuda: &Cuda, table: &HostTensor, spec: BucketSpec) -> Result<Self> {
        let heads = check::relative_bias(table, &spec)?;
        let reach = spec.max_distance;
        if reach > MOST_REACH {
            return Err(Error::Unsupported {
                what: format!("a relative bias up to distance {reach}"),
                hint: format!("up to {MOST_REACH} on this device"),
            });
        }
        let table = cuda.upload_values(&by_distance(&table.to_f32(), heads, spec))?;
        Ok(Self { spec, heads, reach, table })
    }

    pub(crate) fn heads(&self) -> usize {
        self.heads
    }

    pub(crate) fn spec(&self) -> BucketSpec {
        self.spec
    }

    /// Of the table that it was made from: buckets, H.
    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.spec.buckets, self.heads]
    }

    pub(crate) fn bias(&self) -> Bias<'_> {
        Bias { table: &self.table, reach: self.reach }
    }
}

/// `[H, 2 reach + 1]` from `[buckets, H]`: looked up once here, not for every score.
fn by_distance(table: &[f32], heads: usize, spec: BucketSpec) -> Vec<f32> {
    let reach = spec.max_distance as isize;
    let buckets: Vec<usize> = (-reach..=reach).map(|d| spec.bucket(d)).collect();
    (0..heads).flat_map(|h| buckets.iter().map(move |b| table[b * heads + h])).collect()
}

/// Heads that no kernel is wide enough for.
pub(crate) fn check_width(width: usize) -> Result<()> {
    match width <= WIDEST {
        true => Ok(()),
        false => Err(Error::Unsupported {
            what: format!("attention with heads of width {width}"),
            hint: format!("up to {WIDEST} on this device"),
        }),
    }
}

/// Where the keys and values of whole sequences lie: in pages of their own that follow each other in one block of memory. The same
/// for all layers.
pub(crate) struct Layout {
    rows: Ragged,
    shape: PageShape,
    /// Of each row, from the beginning of the block on.
    places: Places,
    /// Of each page.
    table: Table<u64>,
    /// The first page of each sequence.
    starts: Vec<usize>,
}

impl Layout {
    fn new(cuda: &Cuda, rows: &Ragged, shape: PageShape) -> Result<Self> {
        let (starts, count) = first_pages(rows);
        let size = (shape.len() * size_of::<f32>()) as u64;
        let place = |(start, length): (&usize, usize)| {
            let start = *start;
            (0..length).map(move |j| ((start + j / CHUNK) as u64 * size, j))
        };
        let places: Vec<_> = starts.iter().zip(rows.lengths()).flat_map(place).collect();
        let pages: Vec<u64> = (0..count as u64).map(|i| i * size).collect();
        let (places, table) = Together::upload(cuda.pool(), |tables| {
            (Places::new(tables, &places), tables.add(&pages))
        })?;
        Ok(Self { rows: rows.clone(), shape, places, table, starts })
    }
}

/// Keys and values of whole sequences.
pub(crate) struct Whole {
    pages: Buffer<f32>,
    layout: Arc<Layout>,
}

impl Whole {
    /// Lays out the keys and values of `x`, which begin at column `keys`.
    pub(crate) fn new(
        cuda: &Cuda,
        (x, keys): (&Tensor, usize),
        rows: &Ragged,
        spec: &AttentionSpec,
        angles: Option<&Angles>,
    ) -> Result<Self> {
        let shape = PageShape::new(spec.precision, 1, spec.kv_heads, spec.head_dim)?;
        let suits = |l: &Layout| l.rows == *rows && l.shape == shape;
        let make = || Layout::new(cuda, rows, shape);
        let layout = cuda.plans().layout.get(cuda, suits, make)?;
        let pages = cuda.buffer(layout.table.len() * shape.len())?;
        let held = Self { pages, layout };
        let places = (&held.layout.places, held.base());
        // SAFETY: the places lie in the block that was allocated above, whose pages are of one layer.
        unsafe { kv_store::store(cuda, (x, keys), places, spec.precision, spec, angles) }?;
        Ok(held)
    }

    /// The address of the block, in words.
    fn base(&self) -> i64 {
        (self.pages.address() / size_of::<f32>() as u64) as i64
    }

    pub(crate) fn paged(&self) -> Paged<'_> {
        Paged {
            table: &self.layout.table,
            by_position: false,
            layer: self.base(),
            precision: self.precision(),
        }
    }

    pub(crate) fn precision(&self) -> Precision {
        self.layout.shape.precision()
    }

    /// The first page of each sequence.
    pub(crate) fn starts(&self) -> &[usize] {
        &self.layout.starts
    }
}

/// What attention within whole sequences needs besides them; the same for all layers.
pub(crate) struct Plan {
    rows: Ragged,
    causal: bool,
    /// Whether weights may be dropped.
    drops: bool,
    work: Work,
    angles: Option<Angles>,
}

impl Plan {
    fn new(cuda: &Cuda, rows: &Ragged, spec: &AttentionSpec, drops: bool) -> Result<Self> {
        let span = |(range, pages): (Range<usize>, usize)| {
            let (first_row, rows) = (range.start, range.len());
            Span { first_row, rows, position: 0, keys: rows, pages }
        };
        let spans: Vec<Span> = rows.ranges().zip(first_pages(rows).0).map(span).collect();
        let angles = |rotary| Angles::new(cuda, rotary, rows.longest());
        let plan = if drops { Work::tiled } else { Work::new };
        Ok(Self {
            rows: rows.clone(),
            causal: spec.causal,
            drops,
            work: plan(cuda, &spans, spec, (spec.precision, spec.causal))?,
            angles: spec.rotary.as_ref().map(angles).transpose()?,
        })
    }

    fn suits(&self, rows: &Ragged, spec: &AttentionSpec, drops: bool) -> bool {
        let turned = match (&self.angles, &spec.rotary) {
            (Some(angles), Some(rotary)) => angles.suffice(rotary, rows.longest()),
            (angles, rotary) => angles.is_none() && rotary.is_none(),
        };
        let same =
            (&self.rows, self.causal, self.work.precision()) == (rows, spec.causal, spec.precision);
        same && turned && self.drops == drops && self.work.suits(spec)
    }
}

pub(crate) fn attend(
    cuda: &Cuda,
    qkv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
) -> Result<Tensor> {
    attend_with(cuda, qkv, rows, spec, bias, Extra::default())
}

/// The same, with what else is wanted.
pub(crate) fn attend_with(
    cuda: &Cuda,
    qkv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
    extra: Extra<'_>,
) -> Result<Tensor> {
    check::attend(qkv, rows, spec, bias.map(RelativeBias::heads))?;
    check_width(spec.head_dim)?;
    if qkv.rows() == 0 {
        return Ok(cuda.tensor(0, spec.inner())?);
    }
    let drops = extra.dropout.is_some();
    let make = || Plan::new(cuda, rows, spec, drops);
    let plan = cuda.plans().plan.get(cuda, |plan| plan.suits(rows, spec, drops), make)?;
    let angles = plan.angles.as_ref();
    let held = Whole::new(cuda, (qkv, spec.inner()), rows, spec, angles)?;
    let call = Attention {
        q: qkv,
        spec,
        causal: spec.causal,
        work: &plan.work,
        paged: held.paged(),
        angles,
        bias: bias.map(RelativeBias::bias),
    };
    // SAFETY: every position of every sequence was stored above, and the angles reach the longest; the bias has a row for
    // each head, as was checked.
    Ok(unsafe { call.run(cuda, extra) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_lie_by_distance() {
        let spec = BucketSpec { buckets: 4, max_distance: 5, bidirectional: true };
        let table: Vec<f32> = (0..8).map(|v| v as f32).collect();
        let got = by_distance(&table, 2, spec);
        for (h, row) in got.chunks(11).enumerate() {
            let expected: Vec<f32> = (-5..=5).map(|d| table[spec.bucket(d) * 2 + h]).collect();
            assert_eq!(row, expected);
        }
        // Beyond the reach nothing changes.
        assert_eq!([spec.bucket(-5), spec.bucket(5)], [spec.bucket(-5000), spec.bucket(5000)]);
    }
}
