//! The key-value cache: hypotheses share what they have in common, and reordering copies tables only.
//!
//! Each first sequence owns `beams` slots, each with room for `capacity` positions. A hypothesis has a slot of its own,
//! in which it writes its new positions, and a table that says for each of its positions in which slot it lies. Its
//! history stays where it was written, in slots of its ancestors.
//!
//! ```text
//! keys     [layer][sequence][G][slot][block][D][16]
//! values   [layer][sequence][G][slot][position][D']
//! ```
//!
//! in words, as attention reads them: half as many rows of keys and of values where a word is a pair of bf16.
//!
//! **Nobody writes where another reads**: what a hypothesis of length n may come to write, positions n and on of its slot,
//! is in nobody else's table. The first child of a hypothesis keeps its slot. Another child takes a slot of the same
//! sequence that no hypothesis owns, and in which nobody reads from n on. Where the hypotheses of a sequence are equally
//! long, as in a beam search, any free slot will do. Otherwise there may be none; then each hypothesis of the
//! sequence gets a copy of its history in its own slot.

mod hypotheses;
#[cfg(test)]
mod tests;

use super::attention::{Group, Kept, Source, run};
use crate::Cpu;
use crate::kernels::attention::{
    self, Angles, BLOCK, Call, Held, Layout, Paged, RelativeBias, join,
};
use crate::memory::{Buffer, Chunks, Tensor};
use hypotheses::Hypotheses;
use seq2seq_core::{AttentionSpec, CacheSpec, Error, Ragged, Result, backend::check};

/// Keys and values of all layers, and which of them each hypothesis sees.
///
/// Steps over it give the bits of attention over the whole sequence, whatever hypotheses do in between:
///
/// ```
/// use seq2seq_core::{
///     AttentionSpec, Backend, CacheSpec, DecoderOps, EncoderOps, HostTensor, Precision, Ragged,
/// };
/// use seq2seq_cpu::{Cpu, CpuOptions, KvCache, Tensor};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let spec = AttentionSpec {
///     heads: 2, kv_heads: 1, head_dim: 4, scale: 0.5, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// let size = CacheSpec {
///     layers: 1, kv_heads: 1, head_dim: 4, sequences: 1, beams: 2, capacity: 64,
///     precision: Precision::F32,
/// };
/// let mut cache: KvCache = cpu.kv_cache(&size)?;
/// let pass = |x: Tensor, rows: Ragged, cache: &mut KvCache| {
///     cpu.extend(cache, &rows)?;
///     cpu.attend_step(&x, &rows, cache, 0, &spec, None)
/// };
///
/// let values: Vec<f32> = (0..4 * 16).map(|i| (i % 7) as f32).collect();
/// let x = cpu.upload(&HostTensor::from_f32(vec![4, 16], &values)?)?;
/// pass(cpu.gather_rows(&x, &[0, 1])?, Ragged::from_lengths([2]), &mut cache)?; // a prompt
/// cpu.reorder(&mut cache, &[0, 0])?; // goes on in two ways,
/// pass(cpu.gather_rows(&x, &[0, 2])?, Ragged::single_rows(2), &mut cache)?;
/// cpu.reorder(&mut cache, &[1])?; // of which the second stays
/// let last = pass(cpu.gather_rows(&x, &[3])?, Ragged::single_rows(1), &mut cache)?;
///
/// let whole = cpu.attend(&x, &Ragged::from_lengths([4]), &spec, None)?;
/// assert_eq!(cpu.download(&last)?, cpu.download(&whole)?[3 * 8..]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct KvCache {
    spec: CacheSpec,
    store: Store,
    now: Hypotheses,
    /// What the next reordering fills.
    spare: Hypotheses,
    pass: check::Pass,
    /// Of the rows of this pass; made by its first layer.
    angles: Option<Angles>,
}

/// Keys and values of all slots.
#[derive(Debug)]
struct Store {
    keys: Buffer<f32>,
    values: Buffer<f32>,
    /// Sequences times G: the parts of a layer.
    parts: usize,
    /// Slots of a part.
    beams: usize,
    /// Blocks of a slot.
    blocks: usize,
    layout: Layout,
}

/// What is said of a cache whose elements cannot even be counted.
fn too_large(spec: &CacheSpec) -> Error {
    let CacheSpec { sequences, beams, capacity, .. } = spec;
    Error::invalid(
        "kv_cache",
        format!(
            "{capacity} positions for {beams} hypotheses of {sequences} sequences are more than any memory holds; ask \
             for fewer new tokens"
        ),
    )
}

impl Store {
    fn new(cpu: &Cpu, spec: &CacheSpec) -> Result<Self> {
        let layout = Layout::new(cpu.isa(), spec.precision, spec.head_dim);
        let blocks = spec.capacity.div_ceil(BLOCK);
        let product = |sizes: &[usize]| {
            let all = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
            all.ok_or_else(|| too_large(spec))
        };
        let parts = product(&[spec.sequences, spec.kv_heads])?;
        let blocks_of_all = product(&[spec.layers, parts, spec.beams, blocks])?;
        Ok(Self {
            keys: Buffer::room(product(&[blocks_of_all, layout.block()])?)?,
            values: Buffer::room(product(&[blocks_of_all, layout.values(BLOCK)])?)?,
            parts,
            beams: spec.beams,
            blocks,
            layout,
        })
    }

    /// Keys and values of a slot.
    fn slot(&self) -> [usize; 2] {
        [self.blocks * self.layout.block(), self.blocks * self.layout.values(BLOCK)]
    }

    /// Keys and values of all slots of a part.
    fn part(&self) -> [usize; 2] {
        self.slot().map(|size| size * self.beams)
    }

    /// Keys and values of one part of a layer.
    fn of(&self, layer: usize, part: usize) -> [&[f32]; 2] {
        let [keys, values] = self.part();
        let part = layer * self.parts + part;
        [&self.keys[part * keys..][..keys], &self.values[part * values..][..values]]
    }

    /// Keys and values of a layer.
    fn layer_mut(&mut self, layer: usize) -> [&mut [f32]; 2] {
        let [keys, values] = self.part().map(|size| size * self.parts);
        [&mut self.keys[layer * keys..][..keys], &mut self.values[layer * values..][..values]]
    }

    /// Copies position `t` of slot `from` of old keys and values to the same position of slot `to`.
    fn copy(
        &self,
        [keys, values]: [&mut [f32]; 2],
        old: [&[f32]; 2],
        [from, to]: [usize; 2],
        t: usize,
    ) {
        let (columns, words, numbers) = (self.layout.row(), self.layout.key(), self.layout.numbers);
        let row = |slot: usize| (slot * self.blocks * BLOCK + t) / numbers * columns;
        let new = &old[1][row(from)..][..columns];
        for (value, &new) in values[row(to)..][..columns].iter_mut().zip(new) {
            *value = match (numbers, t % 2) {
                (1, _) => new,
                (_, 0) => join(new, *value),
                (_, _) => join(*value, new),
            };
        }
        for d in 0..words {
            let key =
                |slot: usize| ((slot * self.blocks + t / BLOCK) * words + d) * BLOCK + t % BLOCK;
            keys[key(to)] = old[0][key(from)];
        }
    }
}

pub(crate) fn kv_cache(cpu: &Cpu, spec: &CacheSpec) -> Result<KvCache> {
    check::kv_cache(spec)?;
    Ok(KvCache {
        spec: *spec,
        store: Store::new(cpu, spec)?,
        now: Hypotheses::new(spec)?,
        spare: Hypotheses::new(spec)?,
        pass: check::Pass::new(spec.layers),
        angles: None,
    })
}

pub(crate) fn extend(cache: &mut KvCache, rows: &Ragged) -> Result<()> {
    cache.pass.finished("extend")?;
    check::extend(cache.now.lengths().iter().copied(), rows, cache.spec.capacity)?;
    cache.pass.begin(rows);
    cache.angles = None;
    cache.now.extend(rows);
    Ok(())
}

pub(crate) fn attend_step(
    cpu: &Cpu,
    (qkv, rows): (&Tensor, &Ragged),
    (cache, layer): (&mut KvCache, usize),
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
) -> Result<Tensor> {
    let heads = bias.map(RelativeBias::heads);
    check::attend_step(qkv, rows, &cache.spec, layer, spec, heads)?;
    cache.store.layout.check("attend_step", cpu.isa())?;
    cache.pass.step(layer, rows)?;
    let angles = cache.angles.take();
    let angles = spec.rotary.as_ref().map(|rotary| match angles {
        Some(angles) if angles.are_of(rotary) => angles,
        _ => Angles::new(cpu.threads(), rotary, rows, |i| cache.first(i, rows)),
    });
    let source = Source { x: qkv, column: spec.inner(), angles: angles.as_ref() };
    cache.append(cpu, layer, &source, rows, spec);
    let layout = cache.store.layout;
    let call = Call {
        queries: qkv,
        spec,
        causal: true,
        angles: angles.as_ref(),
        bias,
        layout,
        dropout: None,
    };
    let groups = (0..rows.sequences()).map(|held| Group {
        rows: rows.range(held),
        position: cache.first(held, rows),
        len: cache.now.lengths()[held],
        held,
    });
    let held = |i, head| cache.held(layer, i, head);
    let out = run(cpu, &call, groups, Kept::default(), held);
    cache.angles = angles;
    Ok(out)
}

pub(crate) fn reorder(cache: &mut KvCache, parents: &[usize]) -> Result<()> {
    cache.pass.finished("reorder")?;
    check::reorder(parents, cache.now.origins(), cache.spec.beams)?;
    if parents.iter().copied().eq(0..cache.now.origins().len()) {
        return Ok(());
    }
    cache.spare.inherit(&cache.now, parents);
    std::mem::swap(&mut cache.now, &mut cache.spare);
    for sequence in 0..cache.spec.sequences {
        if !cache.now.assign(sequence, parents) {
            cache.separate(sequence);
        }
    }
    Ok(())
}

impl KvCache {
    /// The position of the first row of hypothesis `i` in this pass.
    fn first(&self, i: usize, rows: &Ragged) -> usize {
        self.now.lengths()[i] - rows.length(i)
    }

    /// What hypothesis `i` holds for `head` in `layer`.
    fn held(&self, layer: usize, i: usize, head: usize) -> Held<'_> {
        let part = self.now.origins()[i] * self.spec.kv_heads + head;
        let [keys, values] = self.store.of(layer, part);
        let (slots, blocks) = (self.now.slots(i), self.now.blocks(i));
        Held::Paged(Paged { keys, values, capacity: self.store.blocks, slots, blocks })
    }

    /// Lays out keys and values of the new rows, each hypothesis in its own slot.
    fn append(
        &mut self,
        cpu: &Cpu,
        layer: usize,
        source: &Source<'_>,
        rows: &Ragged,
        spec: &AttentionSpec,
    ) {
        let (part_size, slot_size) = (self.store.part(), self.store.slot());
        let layout = self.store.layout;
        let [keys, values] = self.store.layer_mut(layer);
        let parts =
            (Chunks::new(keys, part_size[0].max(1)), Chunks::new(values, part_size[1].max(1)));
        let (now, heads) = (&self.now, spec.kv_heads);
        let cost = 4 * rows.rows() * spec.head_dim / self.spec.sequences.max(1);
        let scratch = || attention::Store::scratch(layout);
        cpu.threads().each_part_with(parts, cost, scratch, |scratch, part, (keys, values)| {
            for i in now.family(part / heads) {
                let own = now.own(i);
                let keys = &mut keys[own * slot_size[0]..][..slot_size[0]];
                let values = &mut values[own * slot_size[1]..][..slot_size[1]];
                let first = now.lengths()[i] - rows.length(i);
                let of = (part % heads, rows.range(i), first);
                source.store(cpu, (spec, layout), of, (keys, values), scratch);
            }
        });
    }

    /// Gives each hypothesis of a sequence a copy of its history in its own slot.
    fn separate(&mut self, sequence: usize) {
        let [key_size, value_size] = self.store.part();
        for layer in 0..self.spec.layers {
            for head in 0..self.spec.kv_heads {
                let part = sequence * self.spec.kv_heads + head;
                let old = self.store.of(layer, part).map(<[f32]>::to_vec);
                let [mut keys, mut values] = old.clone();
                for i in self.now.family(sequence) {
                    for (t, &from) in self.now.slots(i).iter().enumerate() {
                        let (new, old) = ([&mut keys[..], &mut values], [&old[0][..], &old[1]]);
                        self.store.copy(new, old, [from as usize, self.now.own(i)], t);
                    }
                }
                let [all_keys, all_values] = self.store.layer_mut(layer);
                all_keys[part * key_size..][..key_size].copy_from_slice(&keys);
                all_values[part * value_size..][..value_size].copy_from_slice(&values);
            }
        }
        for i in self.now.family(sequence) {
            self.now.own_from(i, 0);
        }
    }
}
