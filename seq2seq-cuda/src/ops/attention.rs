//! Attention within whole sequences.

use crate::Cuda;
use crate::kernels::angles::Angles;
use crate::kernels::attention::{Attention, Bias, Extra, Paged, Span, WIDEST, Work};
use crate::kernels::kv_store::{self, CHUNK, PageShape, Places};
use crate::memory::{Buffer, Tensor};
use seq2seq_core::{
    AttentionSpec, BucketSpec, Error, HostTensor, Precision, Ragged, Result, Rows, backend::check,
};

/// A bias for each head and distance, in the device's memory.
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

/// Keys and values of whole sequences, each in pages of its own that follow each other.
pub(crate) struct Whole {
    /// Only its address is used, through the table.
    _pages: Buffer<f32>,
    pub(crate) table: Buffer<u64>,
    /// The first page of each sequence.
    pub(crate) starts: Vec<usize>,
    pub(crate) precision: Precision,
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
        let mut starts = Vec::with_capacity(rows.sequences());
        let mut count = 0;
        for length in rows.lengths() {
            starts.push(count);
            count += length.div_ceil(CHUNK);
        }
        let pages: Buffer<f32> = cuda.buffer(count * shape.len())?;
        let size = (shape.len() * size_of::<f32>()) as u64;
        let address = |page: usize| pages.address() + page as u64 * size;
        let place = |(start, length): (&usize, usize)| {
            let start = *start;
            (0..length).map(move |position| (address(start + position / CHUNK), position))
        };
        let places: Vec<_> = starts.iter().zip(rows.lengths()).flat_map(place).collect();
        let places = Places::new(cuda, &places)?;
        // SAFETY: the pages were allocated above, one for each 64 positions, of one layer.
        unsafe { kv_store::store(cuda, (x, keys), (&places, 0), spec.precision, spec, angles) }?;
        let table = cuda.upload_values(&(0..count).map(address).collect::<Vec<_>>())?;
        Ok(Self { _pages: pages, table, starts, precision: spec.precision })
    }

    pub(crate) fn paged(&self) -> Paged<'_> {
        let precision = self.precision;
        Paged { table: &self.table, by_position: false, layer: 0, precision }
    }
}

pub(crate) fn attend(
    cuda: &Cuda,
    qkv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
) -> Result<Tensor> {
    check::attend(qkv, rows, spec, bias.map(RelativeBias::heads))?;
    check_width(spec.head_dim)?;
    let mut out = cuda.tensor(qkv.rows(), spec.inner())?;
    if qkv.rows() == 0 {
        return Ok(out);
    }
    let angles = spec.rotary.as_ref().map(|r| Angles::new(cuda, r, rows.longest())).transpose()?;
    let held = Whole::new(cuda, (qkv, spec.inner()), rows, spec, angles.as_ref())?;
    let span = |(range, &pages): (std::ops::Range<usize>, &usize)| {
        let (first_row, rows) = (range.start, range.len());
        Span { first_row, rows, position: 0, keys: rows, pages }
    };
    let spans: Vec<Span> = rows.ranges().zip(&held.starts).map(span).collect();
    let call = Attention {
        q: qkv,
        spec,
        causal: spec.causal,
        work: &Work::new(cuda, &spans, spec, (spec.precision, spec.causal))?,
        paged: held.paged(),
        angles: angles.as_ref(),
        bias: bias.map(RelativeBias::bias),
    };
    // SAFETY: every position of every sequence was stored above, and the angles reach the longest; the bias has a row for
    // each head, as was checked.
    unsafe { call.run(cuda, &mut out, Extra::default()) }?;
    Ok(out)
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
