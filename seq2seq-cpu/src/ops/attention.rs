//! Attention within whole sequences, and what all attentions share: the laying out of keys and values and the division of
//! the rows into units.

use crate::kernels::attention::{
    Angles, BLOCK, Call, Held, Layout, RelativeBias, Store, Unit, Work,
};
use crate::memory::{Buffer, Runs, Tensor, Tiles};
use crate::{Cpu, simd::words::dispatch_words};
use seq2seq_core::{AttentionSpec, Ragged, Result, Rows, backend::check, train::Dropout};
use std::ops::Range;

/// Scores that the units of one worker keep in its second cache.
const SCORES: usize = 1 << 16;

pub(crate) fn attend(
    cpu: &Cpu,
    qkv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
) -> Result<Tensor> {
    attend_with(cpu, (qkv, rows), spec, bias, None, None)
}

/// With what the way back needs.
pub(crate) fn attend_forward(
    cpu: &Cpu,
    (qkv, rows): (&Tensor, &Ragged),
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
    dropout: Option<Dropout>,
) -> Result<(Tensor, Tensor)> {
    let mut log_sums = Tensor::scratch(qkv.rows(), spec.heads);
    let y = attend_with(cpu, (qkv, rows), &spec.trained(), bias, dropout, Some(&mut log_sums))?;
    Ok((y, log_sums))
}

fn attend_with(
    cpu: &Cpu,
    (qkv, rows): (&Tensor, &Ragged),
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
    dropout: Option<Dropout>,
    log_sums: Option<&mut Tensor>,
) -> Result<Tensor> {
    check::attend(qkv, rows, spec, bias.map(RelativeBias::heads))?;
    let angles = spec.rotary.as_ref().map(|r| Angles::new(cpu.threads(), r, rows, |_| 0));
    let source = Source { x: qkv, column: spec.inner(), angles: angles.as_ref() };
    let layout = if spec.causal { Layout::new } else { Layout::of_encoder };
    let layout = layout(cpu.isa(), spec.precision, spec.head_dim);
    let held = Sequences::new(cpu, &source, rows, (spec, layout));
    let (causal, angles) = (spec.causal, angles.as_ref());
    let call = Call { queries: qkv, spec, causal, angles, bias, layout, dropout };
    let group = |held| Group { rows: rows.range(held), position: 0, len: rows.length(held), held };
    let groups = (0..rows.sequences()).map(group);
    let kept = Kept { log_sums, ..Kept::default() };
    Ok(run(cpu, &call, groups, kept, |i, head| held.of(i, head)))
}

/// Rows that hold keys and values.
pub(crate) struct Source<'a> {
    pub(crate) x: &'a Tensor,
    /// Where the keys begin in a row; the values follow.
    pub(crate) column: usize,
    /// For each row.
    pub(crate) angles: Option<&'a Angles>,
}

impl Source<'_> {
    /// Lays out `rows` for one key-value head from `position` on, with the help of [`Store::scratch`].
    pub(crate) fn store(
        &self,
        cpu: &Cpu,
        (spec, layout): (&AttentionSpec, Layout),
        (head, rows, position): (usize, Range<usize>, usize),
        (keys, values): (&mut [f32], &mut [f32]),
        scratch: &mut [f32],
    ) {
        let (x, angles) = (self.x, self.angles);
        let key = self.column + head * spec.head_dim;
        let columns = (key, key + spec.kv_width());
        let store = Store { x, rows, columns, layout, angles, position, keys, values, scratch };
        dispatch_words(cpu.isa(), layout.numbers, store);
    }
}

/// Keys and values of whole sequences: `[sequence][G]`, each head in one piece.
#[derive(Debug)]
pub(crate) struct Sequences {
    keys: Buffer<f32>,
    values: Buffer<f32>,
    /// Where the head g of sequence i begins: entry i · G + g, in keys and in values.
    key_bounds: Buffer<usize>,
    value_bounds: Buffer<usize>,
    heads: usize,
    pub(crate) layout: Layout,
}

impl Sequences {
    pub(crate) fn new(
        cpu: &Cpu,
        source: &Source<'_>,
        rows: &Ragged,
        (spec, layout): (&AttentionSpec, Layout),
    ) -> Self {
        let heads = spec.kv_heads;
        let bounds = |words: &dyn Fn(usize) -> usize| {
            let mut bounds = Buffer::<usize>::scratch(rows.sequences() * heads + 1);
            bounds[0] = 0;
            for part in 0..rows.sequences() * heads {
                bounds[part + 1] = bounds[part] + words(rows.length(part / heads));
            }
            bounds
        };
        let key_bounds = bounds(&|length| length.div_ceil(BLOCK) * layout.block());
        let value_bounds = bounds(&|length| layout.values(length));
        let last = rows.sequences() * heads;
        let mut keys = Buffer::scratch(key_bounds[last]);
        let mut values = Buffer::scratch(value_bounds[last]);
        let parts = (Runs::new(&mut keys, &key_bounds), Runs::new(&mut values, &value_bounds));
        let cost = 2 * rows.rows() * spec.kv_width() / last.max(1);
        let scratch = || Store::scratch(layout);
        cpu.threads().each_part_with(parts, cost, scratch, |scratch, part, held| {
            let of = (part % heads, rows.range(part / heads), 0);
            source.store(cpu, (spec, layout), of, held, scratch);
        });
        Self { keys, values, key_bounds, value_bounds, heads, layout }
    }

    /// What `head` holds of sequence `i`.
    pub(crate) fn of(&self, i: usize, head: usize) -> Held<'_> {
        let part = i * self.heads + head;
        let range = |bounds: &[usize]| bounds[part]..bounds[part + 1];
        let (keys, values) = (range(&self.key_bounds), range(&self.value_bounds));
        Held::Whole { keys: &self.keys[keys], values: &self.values[values] }
    }
}

/// Consecutive query rows that see the same sequence.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) rows: Range<usize>,
    /// The position of the first row.
    pub(crate) position: usize,
    /// Positions of the sequence.
    pub(crate) len: usize,
    /// Which sequence.
    pub(crate) held: usize,
}

/// What a call gives beside its result.
#[derive(Default)]
pub(crate) struct Kept<'a> {
    /// The probabilities: room for H · (longest `len`) columns. The weights of a row lie there in G runs of equal length,
    /// one a key-value head, each begun by H / G · `len` weights.
    pub(crate) weights: Option<&'a mut Tensor>,
    /// ln Σ e^score, `[N, H]`.
    pub(crate) log_sums: Option<&'a mut Tensor>,
}

/// Runs `call` for groups that together are all rows of its queries, in order. `held(sequence, head)` gives keys and values.
pub(crate) fn run<'a>(
    cpu: &Cpu,
    call: &Call<'_>,
    groups: impl Iterator<Item = Group> + Clone,
    kept: Kept<'_>,
    held: impl Fn(usize, usize) -> Held<'a> + Sync,
) -> Tensor {
    let spec = call.spec;
    let pieces = Pieces::new(call, groups, cpu.threads().count());
    let mut out = Tensor::scratch(call.queries.rows(), spec.inner());
    let (heads, width) = (spec.kv_heads, call.group() * spec.head_dim);
    let tiles = Tiles::new(&mut out, &pieces.bounds, heads, width);
    let weights = kept.weights.map(|weights| {
        let width = weights.width() / heads;
        Tiles::new(weights, &pieces.bounds, heads, width)
    });
    let log_sums = kept.log_sums.map(|sums| Tiles::new(sums, &pieces.bounds, heads, call.group()));
    let parts = (tiles, (weights, log_sums));
    let scratch = || Buffer::scratch(0);
    cpu.threads().each_part_with(parts, pieces.cost, scratch, |scratch, i, part| {
        let (out, (weights, log_sums)) = part;
        let (Group { rows, position, len, held: sequence }, kv_head) =
            (pieces.get(i / heads), i % heads);
        let held = held(sequence, kv_head);
        let unit = Unit { call, kv_head, rows, position, held, len, out, weights, log_sums };
        dispatch_words(cpu.isa(), call.layout.numbers, Work { unit, scratch });
    });
    out
}

/// Groups cut so that the scores of a piece stay in the second cache and every worker gets some.
struct Pieces {
    /// Where the rows of each piece begin, and the end.
    bounds: Buffer<usize>,
    /// For each piece: position, len and held of its group, from the piece's first row on.
    of: Buffer<[usize; 3]>,
    /// Element-wise steps of a piece and key-value head, on average.
    cost: usize,
}

impl Pieces {
    fn new(call: &Call<'_>, groups: impl Iterator<Item = Group> + Clone, workers: usize) -> Self {
        let (rows, spec) = (call.queries.rows(), call.spec);
        // Two units a worker, unless they become too small for a tile.
        let share = (rows * spec.kv_heads).div_ceil(2 * workers).max(8);
        let size = |group: &Group| {
            let scores = group.len.next_multiple_of(BLOCK).max(1) * call.group();
            (SCORES / scores).clamp(1, share)
        };
        let count = groups.clone().map(|g| g.rows.len().div_ceil(size(&g))).sum();
        let mut bounds = Buffer::scratch(count + 1);
        let mut of = Buffer::scratch(count);
        let (mut next, mut work) = (0, 0);
        for group in groups {
            work += group.rows.len() * group.len * spec.inner() / 4;
            for start in group.rows.clone().step_by(size(&group)) {
                bounds[next] = start;
                of[next] = [group.position + start - group.rows.start, group.len, group.held];
                next += 1;
            }
        }
        bounds[count] = rows;
        Self { bounds, of, cost: work / (count * spec.kv_heads).max(1) }
    }

    fn get(&self, i: usize) -> Group {
        let [position, len, held] = self.of[i];
        Group { rows: self.bounds[i]..self.bounds[i + 1], position, len, held }
    }
}

#[cfg(test)]
mod tests;
