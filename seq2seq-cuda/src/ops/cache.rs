//! The key-value cache: pages of 64 positions, which hypotheses share.
//!
//! A page holds the keys and values of all layers and heads for 64 positions, in f32 or bf16; `kernels/attention.cuh` and
//! `kernels/attention_bf16.cuh` have their layouts. Pages are taken from the device's pool as hypotheses grow, so that the
//! memory is that of what is held, not of the capacity.
//! Which hypothesis reads and writes which page is host work ([`histories`]); reordering changes that alone. The addresses of the
//! pages are uploaded once a pass, one for each 64 positions, or one for each position where hypotheses have parted within
//! a page. Where the host does not know yet which hypotheses are continued, the device makes that table of the one before
//! ([`unknown`]).

mod histories;
mod unknown;

use super::attention::{RelativeBias, check_width};
use super::choose::Chosen;
use crate::Cuda;
use crate::kernels::angles::Angles;
use crate::kernels::attention::{Attention, Extra, Paged};
use crate::kernels::attention_plan::{Span, Work};
use crate::kernels::kv_parents;
use crate::kernels::kv_store::{self, PageShape, Places};
use crate::memory::{self, Buffer, Tensor, Together};
use histories::Histories;
use seq2seq_core::{AttentionSpec, CacheSpec, Error, Ragged, Result, Rows, backend::check};
use unknown::Unknown;

/// Keys and values of all layers in the device's memory, and which of them each hypothesis sees.
///
/// A step of a decoding that comes again, to the byte but for what is uploaded, is replayed as a graph:
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{
///     AttentionSpec, Backend, CacheSpec, DecoderOps, EncoderOps, HostTensor, Precision, Ragged, Result,
/// };
/// use seq2seq_cuda::KvCache;
///
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 4, scale: 0.5, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// let size = CacheSpec {
///     layers: 1, kv_heads: 1, head_dim: 4, sequences: 1, beams: 1, capacity: 64,
///     precision: Precision::F32,
/// };
/// let mut cache: KvCache = cuda.kv_cache(&size)?;
/// let values: Vec<f32> = (0..4 * 12).map(|i| (i % 7) as f32).collect();
/// let rows = |rows: &[f32]| cuda.upload(&HostTensor::from_f32(vec![rows.len() / 12, 12], rows)?);
///
/// let mut steps = Vec::new();
/// for x in values.chunks(12) {
///     let one = Ragged::single_rows(1);
///     cuda.extend(&mut cache, &one)?;
///     let y = cuda.step(|| cuda.attend_step(&rows(x)?, &one, &mut cache, 0, &spec, None))?;
///     steps.extend(cuda.download(&y)?);
/// }
/// let whole = cuda.attend(&rows(&values)?, &Ragged::from_lengths([4]), &spec, None)?;
/// assert_eq!(steps, cuda.download(&whole)?); // to the bit
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct KvCache {
    spec: CacheSpec,
    shape: PageShape,
    pages: Vec<Buffer<f32>>,
    histories: Histories,
    /// What the histories are not told yet.
    unknown: Option<Unknown>,
    pass: check::Pass,
    /// Made by the first layer of a pass.
    tables: Option<Tables>,
    angles: Option<Angles>,
}

/// Positions that have angles from the first pass on.
const LEAST_ANGLES: usize = 256;

/// What the layers of a pass have in common, on the device.
struct Tables {
    /// Addresses of pages.
    pages: memory::Table<u64>,
    by_position: bool,
    /// Where the new rows go.
    places: Places,
    work: Work,
}

pub(crate) fn kv_cache(spec: &CacheSpec) -> Result<KvCache> {
    check::kv_cache(spec)?;
    check_width(spec.head_dim)?;
    if spec.capacity > i32::MAX as usize {
        let reason = format!("a capacity of {} positions, of 2^31 - 1 at most", spec.capacity);
        return Err(Error::invalid("kv_cache", reason));
    }
    Ok(KvCache {
        spec: *spec,
        shape: PageShape::new(spec.precision, spec.layers, spec.kv_heads, spec.head_dim)?,
        pages: Vec::new(),
        histories: Histories::new(spec.sequences),
        unknown: None,
        pass: check::Pass::new(spec.layers),
        tables: None,
        angles: None,
    })
}

pub(crate) fn extend(cuda: &Cuda, cache: &mut KvCache, rows: &Ragged) -> Result<()> {
    cache.pass.finished("extend")?;
    let one_each = rows.lengths().all(|new| new == 1);
    if cache.unknown.as_ref().is_some_and(|unknown| unknown.growth().is_some() || !one_each) {
        cache.settle()?;
    }
    check::extend(cache.histories.lengths(), rows, cache.spec.capacity)?;
    let growth = match &cache.unknown {
        Some(_) => cache.histories.growth_unknown(),
        None => cache.histories.growth(rows),
    };
    // Pages that were taken before this fails are used by the next call.
    while cache.pages.len() < growth.pages() {
        cache.pages.push(cuda.buffer(cache.shape.len())?);
    }
    cache.pass.begin(rows);
    match &mut cache.unknown {
        Some(unknown) => unknown.grow(growth),
        None => cache.histories.grow(rows, growth),
    }
    cache.tables = None;
    Ok(())
}

pub(crate) fn attend_step(
    cuda: &Cuda,
    (qkv, rows): (&Tensor, &Ragged),
    (cache, layer): (&mut KvCache, usize),
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
) -> Result<Tensor> {
    check::attend_step(qkv, rows, &cache.spec, layer, spec, bias.map(RelativeBias::heads))?;
    cache.pass.step(layer, rows)?;
    if qkv.rows() == 0 {
        return Ok(cuda.tensor(0, spec.inner())?);
    }
    cache.prepare(cuda, rows, spec)?;
    let angles = cache.angles.as_ref().filter(|_| spec.rotary.is_some());
    let tables = cache.tables.as_ref().expect("made above");
    let before = cache.shape.before(layer);
    let call = Attention {
        q: qkv,
        spec,
        causal: true,
        work: &tables.work,
        paged: Paged {
            table: &tables.pages,
            by_position: tables.by_position,
            layer: before,
            precision: cache.shape.precision(),
        },
        angles,
        bias: bias.map(RelativeBias::bias),
    };
    // SAFETY: the tables name pages of this cache, which live as long as it does, for every position that a hypothesis
    // holds; the new ones are stored here, the others were by the passes before. The angles reach the longest hypothesis.
    unsafe {
        let (places, precision) = ((&tables.places, before), call.paged.precision);
        kv_store::store(cuda, (qkv, spec.inner()), places, precision, spec, angles)?;
        Ok(call.run(cuda, Extra::default())?)
    }
}

pub(crate) fn reorder(cache: &mut KvCache, parents: &[usize]) -> Result<()> {
    cache.pass.finished("reorder")?;
    cache.settle()?;
    let origins: Vec<usize> = cache.histories.origins().collect();
    check::reorder(parents, &origins, cache.spec.beams)?;
    cache.histories.reorder(parents);
    Ok(())
}

pub(crate) fn reorder_chosen(cache: &mut KvCache, chosen: &Chosen) -> Result<()> {
    let Some(width) = chosen.width() else { return Ok(()) };
    cache.pass.finished("reorder_chosen")?;
    cache.settle()?;
    let picked = chosen.picked();
    unknown::check(&cache.histories, picked.next(), width)?;
    match Unknown::new(picked) {
        Some(unknown) => cache.unknown = Some(unknown),
        None => cache.histories.reorder(&picked.download()?.parents),
    }
    Ok(())
}

impl KvCache {
    /// Tells the histories what they do not know yet, for which it waits.
    fn settle(&mut self) -> Result<()> {
        let Some(unknown) = &self.unknown else { return Ok(()) };
        let parents = unknown.parents()?;
        if let Some(unknown) = self.unknown.take() {
            unknown.tell(&mut self.histories, &parents);
        }
        Ok(())
    }

    /// Uploads what the layers of this pass need, where it is not there.
    fn prepare(&mut self, cuda: &Cuda, rows: &Ragged, spec: &AttentionSpec) -> Result<()> {
        let unknown = self.unknown.as_ref().and_then(Unknown::growth);
        // The histories do not say yet that hypotheses which nobody knows have grown.
        let more = usize::from(unknown.is_some());
        let longest = self.histories.lengths().max().unwrap_or(0) + more;
        if let Some(rotary) = &spec.rotary
            && !self.angles.as_ref().is_some_and(|a| a.suffice(rotary, longest))
        {
            // Twice as far each time, so that few steps of a decoding make new ones, and are like no other.
            let reach = longest.next_power_of_two().max(LEAST_ANGLES).min(self.spec.capacity);
            self.angles = Some(Angles::new(cuda, rotary, reach)?);
        }
        if self.tables.as_ref().is_some_and(|t| t.work.suits(spec)) {
            return Ok(());
        }
        let address = |page: u32| self.pages[page as usize].address();
        let table = match unknown {
            Some(growth) => self.histories.table_unknown(growth),
            None => self.histories.table(),
        };
        let span = |(i, range): (usize, std::ops::Range<usize>)| {
            let keys = self.histories.length(i) + more;
            let (first_row, rows) = (range.start, range.len());
            Span { first_row, rows, position: keys - rows, keys, pages: table.starts[i] }
        };
        let spans: Vec<Span> = rows.ranges().enumerate().map(span).collect();
        let kind = (self.shape.precision(), true);
        if let Some(tables) = &mut self.tables {
            // Layers of another shape read the same pages.
            tables.work = Work::new(cuda, &spans, spec, kind)?;
            return Ok(());
        }
        let mut places = Vec::with_capacity(rows.rows());
        for (i, span) in spans.iter().enumerate() {
            let page = |position| match unknown {
                Some(growth) => (address(growth.page(i)), position),
                None => (address(self.histories.page(i, position)), position),
            };
            places.extend((span.position..span.keys).map(page));
        }
        let histories::Table { pages, by_position, .. } = table;
        let pages: Vec<u64> = pages.into_iter().map(address).collect();
        let (places, work, mut pages) = Together::upload_growing(cuda.pool(), |tables| {
            let places = Places::new(tables, &places);
            (places, Work::beside(cuda, tables, &spans, spec, kind), tables.add(&pages))
        })?;
        if let Some(chosen) = self.unknown.as_mut().and_then(Unknown::take_chosen) {
            // SAFETY: the table has an entry for each key of each span. Parents are hypotheses of the same source, each of
            // which has a span and is as long, as `reorder_chosen` has checked.
            pages = unsafe { kv_parents::follow(cuda, &pages, &work, &chosen) }?.into();
        }
        self.tables = Some(Tables { pages, by_position, places, work });
        Ok(())
    }
}
