//! Which block takes which rows and which keys of an attention, and the tables that say so.

use super::attention::{VECTORS, WARPS, instance};
use super::kv_store::CHUNK;
use super::{attention_bf16, attention_split};
use crate::Cuda;
use crate::driver::Result;
use crate::memory::{Table, Together};
use seq2seq_core::{AttentionSpec, Precision};

/// Up to so many rows a sequence, keys are spread over the device; in bf16 up to what one product takes, where that is more.
const FEW_ROWS: usize = 4;

/// The rows of one sequence and the keys that they attend to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    /// Of its first row.
    pub(crate) position: usize,
    pub(crate) keys: usize,
    /// Where its pages begin in the table.
    pub(crate) pages: usize,
}

/// What a plan depends on besides the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    kv_heads: usize,
    /// Query heads that share keys.
    group: usize,
    width: usize,
    /// Of the keys and values.
    precision: Precision,
}

impl Shape {
    /// Of an attention to keys and values in `precision`.
    pub(crate) fn new(spec: &AttentionSpec, precision: Precision) -> Self {
        let (kv_heads, width) = (spec.kv_heads, spec.head_dim);
        Self { kv_heads, group: spec.heads / kv_heads, width, precision }
    }

    /// The first vector of each tile of `by` of them.
    fn steps(self, span: &Span, by: usize) -> impl Iterator<Item = i32> + use<> {
        (0..span.rows * self.group).step_by(by).map(|v| v as i32)
    }

    /// The most rows of a sequence whose keys are spread over the device.
    pub(crate) fn few_rows(&self) -> usize {
        match self.precision {
            Precision::F32 => FEW_ROWS,
            Precision::Bf16 => FEW_ROWS.max(attention_split::VECTORS_BF16 / self.group),
        }
    }
}

/// What each block of a launch does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// For each tile its sequence and its first vector; vectors of a tile.
    Tiles { items: Vec<[i32; 2]>, vectors: usize },
    /// For each block its sequence, first vector and first chunk (the last number is unused); whether a warp has one
    /// vector, for which there is a kernel of its own in f32.
    Split { items: Vec<[i32; 4]>, one: bool },
}

impl Plan {
    pub(super) fn new(spans: &[Span], shape: Shape, multiprocessors: usize) -> Self {
        let Shape { group, precision, .. } = shape;
        let kind = instance(shape.width);
        if spans.iter().any(|s| s.rows > shape.few_rows()) {
            return Self::tiles(spans, shape, multiprocessors);
        }
        let one = precision == Precision::F32 && group == 1 && spans.iter().all(|s| s.rows <= 1);
        let vectors = match precision {
            Precision::F32 if one => 1,
            Precision::F32 => VECTORS[kind],
            Precision::Bf16 => attention_split::VECTORS_BF16,
        };
        let items = spans.iter().zip(0i32..).flat_map(|(s, i)| {
            // One block where there are no keys: it stores the zeros.
            let chunks = (0..s.keys.div_ceil(CHUNK).max(1)).step_by(attention_split::CHUNKS);
            chunks.flat_map(move |c| shape.steps(s, vectors).map(move |v| [i, v, c as i32, 0]))
        });
        Self::Split { items: items.collect(), one }
    }

    /// Of tiles, however few rows there are; none is high where there are more multiprocessors than blocks would be.
    fn tiles(spans: &[Span], shape: Shape, multiprocessors: usize) -> Self {
        let Shape { kv_heads, group, width, precision } = shape;
        let kind = instance(width);
        let vectors = match precision {
            Precision::F32 => WARPS[kind] * VECTORS[kind],
            Precision::Bf16 => {
                let of_sequences = spans.iter().map(|s| s.rows * group);
                attention_bf16::tile(width, of_sequences, multiprocessors.div_ceil(kv_heads))
            }
        };
        let of = |(s, i): (&Span, i32)| shape.steps(s, vectors).map(move |v| [i, v]);
        Self::Tiles { items: spans.iter().zip(0..).flat_map(of).collect(), vectors }
    }

    /// The same with as many blocks as a power of two, where keys grow with each step: few steps have another grid. What is added
    /// are chunks behind the last key of the first sequence, whose blocks leave at once.
    fn padded(mut self, spans: &[Span]) -> Self {
        if let (Self::Split { items, .. }, Some(first)) = (&mut self, spans.first()) {
            let none = [0, 0, first.keys.div_ceil(CHUNK).max(1) as i32, 0];
            items.resize(items.len().next_power_of_two(), none);
        }
        self
    }
}

/// A plan on the device; the same for all layers of a pass.
pub(crate) struct Work {
    /// Two for each sequence: `{first row, position, keys, pages}`, `{rows, 0, 0, 0}`.
    pub(super) spans: Table<[i32; 4]>,
    pub(super) kind: Kind,
    /// Keys that each row sees at most.
    keys: Table<i32>,
    /// Chunks of the longest sequence, or more.
    pub(super) chunks: usize,
    pub(super) rows: usize,
    /// What it was made for.
    shape: Shape,
}

/// What was planned, on the device.
pub(super) enum Kind {
    Tiles { items: Table<[i32; 2]>, vectors: usize },
    Split { items: Table<[i32; 4]>, one: bool },
}

impl Work {
    /// Plans attention for `spans`, whose rows follow each other, in the precision of the keys and values. Where it is causal, keys
    /// grow from step to step: what the launches are told of their number is rounded up to a power of two, so that few steps
    /// differ in it.
    pub(crate) fn new(
        cuda: &Cuda,
        spans: &[Span],
        spec: &AttentionSpec,
        kind: (Precision, bool),
    ) -> Result<Self> {
        Together::upload(cuda.pool(), |tables| Self::beside(cuda, tables, spans, spec, kind))
    }

    /// The same among other tables.
    pub(crate) fn beside(
        cuda: &Cuda,
        tables: &mut Together,
        spans: &[Span],
        spec: &AttentionSpec,
        (precision, causal): (Precision, bool),
    ) -> Self {
        let shape = Shape::new(spec, precision);
        let plan = Plan::new(spans, shape, cuda.driver().multiprocessors() as usize);
        let plan = if causal { plan.padded(spans) } else { plan };
        Self::of_plan(tables, (spans, shape, causal), plan)
    }

    /// Plans tiles, whose weights may be dropped, however few rows there are; low ones.
    pub(crate) fn tiled(
        cuda: &Cuda,
        spans: &[Span],
        spec: &AttentionSpec,
        (precision, causal): (Precision, bool),
    ) -> Result<Self> {
        let shape = Shape::new(spec, precision);
        let plan = Plan::tiles(spans, shape, usize::MAX);
        Together::upload(cuda.pool(), |tables| Self::of_plan(tables, (spans, shape, causal), plan))
    }

    fn of_plan(
        tables: &mut Together,
        (spans, shape, causal): (&[Span], Shape, bool),
        plan: Plan,
    ) -> Self {
        let words = |s: &Span| {
            [[s.first_row, s.position, s.keys, s.pages], [s.rows, 0, 0, 0]]
                .map(|w| w.map(|n| n as i32))
        };
        let seen = |s: &Span| {
            let s = *s;
            (0..s.rows).map(move |r| if causal { s.position + r + 1 } else { s.keys } as i32)
        };
        let keys: Vec<i32> = spans.iter().flat_map(seen).collect();
        let chunks = spans.iter().map(|s| s.keys.div_ceil(CHUNK)).max().unwrap_or(0);
        let rows = keys.len();
        let spans = tables.add(&spans.iter().flat_map(words).collect::<Vec<_>>());
        let keys = tables.add(&keys);
        let kind = match plan {
            Plan::Tiles { items, vectors } => Kind::Tiles { items: tables.add(&items), vectors },
            Plan::Split { items, one } => Kind::Split { items: tables.add(&items), one },
        };
        let chunks = if causal { chunks.next_power_of_two() } else { chunks };
        Self { spans, kind, keys, chunks, rows, shape }
    }

    /// Whether it was made for attention of this shape.
    pub(crate) fn suits(&self, spec: &AttentionSpec) -> bool {
        self.shape == Shape::new(spec, self.shape.precision)
    }

    /// Of the keys and values that it was made for.
    pub(crate) fn precision(&self) -> Precision {
        self.shape.precision
    }

    /// Keys that each row sees.
    pub(super) fn keys(&self) -> &Table<i32> {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(rows: usize, keys: usize) -> Span {
        Span { first_row: 0, rows, position: keys - rows.min(keys), keys, pages: 0 }
    }

    fn shape(group: usize, width: usize, precision: Precision) -> Shape {
        Shape { kv_heads: 2, group, width, precision }
    }

    #[test]
    fn many_rows_are_tiled() {
        let tiles = |items: &[[i32; 2]], vectors| Plan::Tiles { items: items.to_vec(), vectors };
        let spans = [span(70, 70), span(0, 3), span(1, 9)];
        let plan = Plan::new(&spans, shape(1, 64, Precision::F32), 1);
        assert_eq!(plan, tiles(&[[0, 0], [0, 64], [2, 0]], 64));
        // 32 vectors of 256 columns would not fit.
        let plan = Plan::new(&[span(5, 5)], shape(8, 256, Precision::F32), 1);
        assert_eq!(plan, tiles(&[[0, 0], [0, 16], [0, 32]], 16));
        // In bf16 tiles may be higher.
        let plan =
            |multiprocessors| Plan::new(&spans, shape(1, 64, Precision::Bf16), multiprocessors);
        assert_eq!(plan(4), tiles(&[[0, 0], [2, 0]], 128));
        assert_eq!(plan(5), tiles(&[[0, 0], [0, 64], [2, 0]], 64));
    }

    #[test]
    fn few_rows_have_their_keys_spread() {
        let split = |items: &[[i32; 4]], one| Plan::Split { items: items.to_vec(), one };
        let plan = |precision| {
            let spans = [span(1, 300), span(0, 5), span(1, 0)];
            let few = Plan::new(&spans, shape(1, 64, precision), 1);
            (few, Plan::new(&[span(3, 64)], shape(4, 64, precision), 1))
        };
        let few = [[0, 0, 0, 0], [0, 0, 4, 0], [2, 0, 0, 0]];
        let grouped = split(&[[0, 0, 0, 0], [0, 8, 0, 0]], false);
        assert_eq!(plan(Precision::F32), (split(&few, true), grouped));
        let grouped = split(&[[0, 0, 0, 0]], false);
        assert_eq!(plan(Precision::Bf16), (split(&few, false), grouped));
        // In bf16 more rows are few, where a product takes them.
        let few = [(1, Precision::F32), (1, Precision::Bf16), (3, Precision::Bf16)];
        let few = few.map(|(group, precision)| shape(group, 64, precision).few_rows());
        assert_eq!((few, shape(8, 64, Precision::Bf16).few_rows()), ([4, 16, 5], 4));
    }

    /// Blocks that are added see no key: their first chunk is behind the last of the first sequence, and not its first.
    #[test]
    fn grids_grow_by_powers_of_two() {
        let padded = |spans: &[Span]| match Plan::new(spans, shape(1, 64, Precision::F32), 1)
            .padded(spans)
        {
            Plan::Split { items, .. } => items,
            plan => panic!("{plan:?}"),
        };
        let spans = [span(1, 300), span(1, 5)];
        assert_eq!(padded(&spans), [[0, 0, 0, 0], [0, 0, 4, 0], [1, 0, 0, 0], [0, 0, 5, 0]]);
        let spans = [span(0, 0), span(1, 3), span(1, 5), span(1, 9)];
        assert_eq!(padded(&spans)[3..], [[0, 0, 1, 0]]);
        let steps: std::collections::BTreeSet<usize> =
            (1..5000).map(|keys| padded(&[span(1, keys); 3]).len()).collect();
        assert_eq!(steps, [4, 8, 16, 32, 64].into());
    }
}
