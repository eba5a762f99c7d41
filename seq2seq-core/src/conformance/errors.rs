//! Wrong calls are refused, with the error that the reference gives; empty batches are not wrong.
//!
//! ```
//! use seq2seq_core::{conformance::errors, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! errors::are_those_of_the_reference(&backend)?;
//! errors::formats_are_as_said(&backend)?;
//! errors::empty_batches_are_allowed(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```

mod recurrent;
mod windows;

use self::recurrent::{additives, direction, recurrences};
use super::{Outcome, fail, host};
use crate::reference::Reference;
use crate::{
    AttentionSpec, BucketSpec, CacheSpec, Cell, DType, Epilogue, Error, Format, HostTensor,
    LinearPart, LinearSpec, LogitRule, Lookup, NormKind, NormSpec, Part, Pick, Pool, Precision,
    Ragged, RecurrentSpec, Result, Rotary, ScoreOrder, SeqBackend, Warp, Windows,
};
use std::sync::Arc;

/// What came of a wrong call.
type Call = (&'static str, Option<Error>);

struct Calls(Vec<Call>);

impl Calls {
    fn add<T>(&mut self, what: &'static str, result: Result<T>) {
        self.0.push((what, result.err()));
    }
}

/// Every wrong call gives the same typed error as on the reference.
pub fn are_those_of_the_reference<B: SeqBackend>(backend: &B) -> Outcome {
    let formats = backend.formats();
    let (expected, got) = (wrong_calls(&Reference, formats)?, wrong_calls(backend, formats)?);
    for ((what, expected), (_, got)) in expected.into_iter().zip(got) {
        match (expected, got) {
            (None, _) => return fail(format!("{what}: the reference accepts it")),
            (_, None) => return fail(format!("{what}: accepted")),
            (Some(e), Some(g)) if e != g => return fail(format!("{what}: {g:?}, expected {e:?}")),
            _ => {}
        }
    }
    Ok(())
}

/// A format that a backend does not have is refused, and those that it has are named.
pub fn formats_are_as_said<B: SeqBackend>(backend: &B) -> Outcome {
    let spec = LinearSpec::single(zeros(2, 3), None);
    let recurrent = RecurrentSpec { cell: Cell::Gru, directions: vec![direction(3, 1)] };
    for format in Format::ALL {
        let has = backend.formats().contains(&format);
        for error in
            [backend.pack(&spec, format).err(), backend.recurrent(&recurrent, format).err()]
        {
            match error {
                None if has => {}
                Some(Error::Unsupported { what, hint }) if !has => {
                    let named = backend.formats().iter().all(|f| hint.contains(f.name()));
                    if !what.contains(format.name()) || !named {
                        return fail(format!("{format} is refused by '{what}', '{hint}'"));
                    }
                }
                other => return fail(format!("{format} (there: {has}) gave {other:?}")),
            }
        }
    }
    Ok(())
}

/// Calls that are wrong, of layers in these formats.
fn wrong_calls<B: SeqBackend>(backend: &B, formats: &[Format]) -> Result<Vec<Call>> {
    let mut calls = Calls(Vec::new());
    uploads(backend, &mut calls)?;
    packs(backend, formats, &mut calls);
    linears(backend, &mut calls)?;
    lookups(backend, &mut calls)?;
    norms(backend, &mut calls)?;
    rows(backend, &mut calls)?;
    biases(backend, &mut calls);
    attentions(backend, &mut calls)?;
    caches(backend, &mut calls)?;
    orders(backend, &mut calls)?;
    crosses(backend, &mut calls)?;
    recurrences(backend, &mut calls)?;
    windows::convolutions(backend, &mut calls)?;
    additives(backend, &mut calls)?;
    choices(backend, &mut calls)?;
    draws(backend, &mut calls)?;
    Ok(calls.0)
}

fn zeros(rows: usize, width: usize) -> HostTensor {
    host(rows, width, &vec![0.0; rows * width])
}

/// A tensor of one dimension.
fn vector(values: &[f32]) -> HostTensor {
    super::values::tensor(DType::F32, vec![values.len()], values)
}

fn integers(rows: usize, width: usize) -> Result<HostTensor> {
    let bytes = vec![0u8; rows * width * 4];
    let range = 0..bytes.len();
    HostTensor::from_shared(DType::I32, vec![rows, width], Arc::new(bytes), range)
}

fn uploads<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    calls.add("upload of integers", backend.upload(&integers(2, 3)?));
    calls.add("upload of a vector", backend.upload(&vector(&[1.0])));
    calls.add("upload of three dimensions", backend.upload(&zeros(2, 6).reshape(vec![2, 2, 3])?));
    calls.add("table of integers", backend.embedding(&integers(2, 3)?));
    calls.add("table of one dimension", backend.embedding(&vector(&[1.0])));
    Ok(())
}

fn packs<B: SeqBackend>(backend: &B, formats: &[Format], calls: &mut Calls) {
    let part = |rows, width, bias: Option<usize>| LinearPart {
        weight: zeros(rows, width),
        bias: bias.map(|n| vector(&vec![0.0; n])),
        transposed: false,
    };
    let spec = |parts, gated, scale| LinearSpec { parts, gated, scale };
    let weight = |values: &[f32]| LinearSpec::single(host(1, values.len(), values), None);
    for &format in formats {
        let mut refuse = |what, spec: LinearSpec| calls.add(what, backend.pack(&spec, format));
        refuse("no parts", spec(vec![], false, 1.0));
        refuse("an empty weight", spec(vec![part(0, 3, None)], false, 1.0));
        refuse("no input columns", spec(vec![part(3, 0, None)], false, 1.0));
        refuse("input widths", spec(vec![part(2, 3, None), part(2, 4, None)], false, 1.0));
        refuse("a vector as weight", LinearSpec::single(vector(&[1.0]), None));
        refuse("a long bias", spec(vec![part(2, 3, Some(3))], false, 1.0));
        refuse("a matrix as bias", LinearSpec::single(zeros(2, 3), Some(zeros(1, 2))));
        refuse("one gated part", spec(vec![part(4, 3, None)], true, 1.0));
        refuse("three gated parts", spec(vec![part(2, 3, None); 3], true, 1.0));
        refuse("unequal gate and up", spec(vec![part(2, 3, None), part(4, 3, None)], true, 1.0));
        refuse("a NaN scale", spec(vec![part(2, 3, None)], false, f32::NAN));
        refuse("a NaN weight", weight(&[0.0, f32::NAN, 1.0]));
        refuse("an infinite weight", weight(&[0.0, f32::NEG_INFINITY]));
        refuse("a NaN bias", LinearSpec::single(zeros(1, 2), Some(vector(&[f32::NAN]))));
    }
    // Finite in f32, infinite once rounded to bf16 or f16; an int8 scale beyond f32.
    calls.add("a weight beyond bf16", backend.pack(&weight(&[f32::MAX]), Format::Bf16));
    if formats.contains(&Format::F16) {
        calls.add("a weight beyond f16", backend.pack(&weight(&[0.0, -65520.0]), Format::F16));
    }
    let scaled = LinearSpec { scale: f32::MAX, ..weight(&[1e30]) };
    calls.add("a scale beyond f32", backend.pack(&scaled, Format::Int8));
    let long = zeros(1, crate::quant::MAX_REDUCTION + 1);
    calls.add(
        "an int8 reduction that may overflow",
        backend.pack(&LinearSpec::single(long, None), Format::Int8),
    );
}

fn linears<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let layer = backend.pack(&LinearSpec::single(zeros(4, 3), None), Format::F32)?;
    let x = backend.upload(&zeros(2, 3))?;
    calls
        .add("input width", backend.linear(&backend.upload(&zeros(2, 4))?, &layer, Epilogue::NONE));
    for (rows, width) in [(2, 3), (3, 4), (1, 4)] {
        let residual = backend.upload(&zeros(rows, width))?;
        calls.add("residual shape", backend.linear(&x, &layer, Epilogue::residual(&residual)));
        for epilogues in [
            [Epilogue::residual(&residual), Epilogue::NONE],
            [Epilogue::NONE, Epilogue::residual(&residual)],
        ] {
            let back = backend.pack(&LinearSpec::single(zeros(5, 4), None), Format::Bf16)?;
            calls.add(
                "residuals of two layers",
                backend.feed_forward(&x, [&layer, &back], epilogues),
            );
        }
    }
    let other = backend.pack(&LinearSpec::single(zeros(64, 3), None), Format::Bf16)?;
    let many = backend.upload(&zeros(20, 3))?;
    for layers in [[&layer, &layer], [&other, &layer], [&other, &other]] {
        let epilogues = [Epilogue::NONE, Epilogue::NONE];
        calls.add("widths of two layers", backend.feed_forward(&many, layers, epilogues));
    }
    Ok(())
}

fn lookups<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let (table, wide) = (backend.embedding(&zeros(5, 3))?, backend.embedding(&zeros(5, 4))?);
    let lookup = |table, ids| Lookup { table, ids, scale: 1.0 };
    calls.add("no lookups", backend.embed(&[]));
    calls.add("an id out of range", backend.embed(&[lookup(&table, &[0, 5])]));
    calls.add("widths of tables", backend.embed(&[lookup(&table, &[0]), lookup(&wide, &[0])]));
    calls.add("numbers of ids", backend.embed(&[lookup(&table, &[0]), lookup(&table, &[0, 1])]));
    Ok(())
}

fn norms<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let spec = |kind, weight: &[f32], bias: Option<&[f32]>, eps| NormSpec {
        kind,
        eps,
        weight: vector(weight),
        bias: bias.map(vector),
    };
    let mut refuse = |what, spec: NormSpec| calls.add(what, backend.norm_weights(&spec));
    use NormKind::{Layer, Rms};
    refuse("an empty norm", spec(Rms, &[], None, 1e-5));
    refuse("RMSNorm with a bias", spec(Rms, &[1.0], Some(&[0.0]), 1e-5));
    refuse("a short bias", spec(Layer, &[1.0, 1.0], Some(&[0.0]), 1e-5));
    refuse("negative eps", spec(Layer, &[1.0], None, -1.0));
    refuse("NaN eps", spec(Layer, &[1.0], None, f32::NAN));
    refuse("a NaN weight", spec(Layer, &[f32::NAN], None, 1e-5));
    refuse("an infinite bias", spec(Layer, &[1.0], Some(&[f32::INFINITY]), 1e-5));
    refuse("a matrix as weight", NormSpec { weight: zeros(2, 3), ..spec(Rms, &[1.0], None, 0.0) });
    let norm = backend.norm_weights(&spec(Rms, &[1.0; 3], None, 1e-5))?;
    calls.add("norm width", backend.norm(&backend.upload(&zeros(2, 4))?, &norm));
    Ok(())
}

fn rows<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let x = backend.upload(&zeros(4, 3))?;
    calls.add("a row out of range", backend.gather_rows(&x, &[0, 4]));
    for pool in [Pool::First, Pool::Mean, Pool::Last] {
        calls.add("an empty sequence", backend.pool(&x, &Ragged::from_lengths([2, 0, 2]), pool));
        calls.add("rows of a pool", backend.pool(&x, &Ragged::from_lengths([2, 1]), pool));
    }
    Ok(())
}

fn biases<B: SeqBackend>(backend: &B, calls: &mut Calls) {
    let spec =
        |buckets, max_distance, bidirectional| BucketSpec { buckets, max_distance, bidirectional };
    let mut refuse =
        |what, table: HostTensor, spec| calls.add(what, backend.relative_bias(&table, spec));
    refuse("buckets of the table", zeros(5, 2), spec(4, 16, false));
    refuse("one bucket", zeros(1, 2), spec(1, 16, false));
    refuse("one bucket a side", zeros(3, 2), spec(3, 16, true));
    refuse("no distances beyond the exact ones", zeros(32, 2), spec(32, 16, false));
    refuse("a vector as table", vector(&[0.0; 4]), spec(4, 16, false));
    refuse("a NaN bias", host(4, 1, &[0.0, f32::NAN, 0.0, 0.0]), spec(4, 16, false));
}

/// Two heads of 4 columns.
const SPEC: AttentionSpec = AttentionSpec {
    heads: 2,
    kv_heads: 2,
    head_dim: 4,
    scale: 0.5,
    causal: true,
    rotary: None,
    dropout: 0.0,
    precision: Precision::F32,
};

/// Specs that describe no attention.
fn wrong_specs() -> [(&'static str, AttentionSpec); 5] {
    let rotary = Some(Rotary { inv_freq: vec![1.0; 3].into(), scale: 1.0 });
    [
        ("no heads", AttentionSpec { heads: 0, ..SPEC }),
        ("no key-value heads", AttentionSpec { kv_heads: 0, ..SPEC }),
        ("no head width", AttentionSpec { head_dim: 0, ..SPEC }),
        ("heads that do not divide", AttentionSpec { heads: 3, ..SPEC }),
        ("too many rotary frequencies", AttentionSpec { rotary, ..SPEC }),
    ]
}

fn three_heads<B: SeqBackend>(backend: &B) -> Result<B::RelativeBias> {
    let spec = BucketSpec { buckets: 4, max_distance: 16, bidirectional: false };
    backend.relative_bias(&zeros(4, 3), spec)
}

fn attentions<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let x = backend.upload(&zeros(3, SPEC.qkv_width()))?;
    let all = Ragged::from_lengths([3]);
    for (what, spec) in wrong_specs() {
        calls.add(what, backend.attend(&x, &all, &spec, None));
    }
    let narrow = backend.upload(&zeros(3, SPEC.qkv_width() - 1))?;
    calls.add("width of attention", backend.attend(&narrow, &all, &SPEC, None));
    calls.add("rows of attention", backend.attend(&x, &Ragged::from_lengths([2]), &SPEC, None));
    calls.add("heads of the bias", backend.attend(&x, &all, &SPEC, Some(&three_heads(backend)?)));
    Ok(())
}

const CACHE: CacheSpec = CacheSpec {
    layers: 2,
    kv_heads: 2,
    head_dim: 4,
    sequences: 2,
    beams: 2,
    capacity: 5,
    precision: Precision::F32,
};

fn caches<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    for (what, spec) in [
        ("no layers", CacheSpec { layers: 0, ..CACHE }),
        ("no key-value heads", CacheSpec { kv_heads: 0, ..CACHE }),
        ("no head width", CacheSpec { head_dim: 0, ..CACHE }),
        ("no beams", CacheSpec { beams: 0, ..CACHE }),
    ] {
        calls.add(what, backend.kv_cache(&spec));
    }
    for (what, rows) in [
        ("sequences of extend", vec![1; 3]),
        ("no room", vec![5, 6]),
        ("no room at all", vec![9, 9]),
    ] {
        let mut cache = backend.kv_cache(&CACHE)?;
        calls.add(what, backend.extend(&mut cache, &Ragged::from_lengths(rows)));
    }
    let mut cache = backend.kv_cache(&CACHE)?;
    let pass = Ragged::from_lengths([2, 1]);
    backend.extend(&mut cache, &pass)?;
    let x = backend.upload(&zeros(3, SPEC.qkv_width()))?;
    let mut step = |what, rows: &Ragged, layer, spec: &AttentionSpec, bias: Option<&_>| {
        calls.add(what, backend.attend_step(&x, rows, &mut cache, layer, spec, bias));
    };
    for (what, spec) in wrong_specs() {
        step(what, &pass, 0, &spec, None);
    }
    step("a layer out of range", &pass, 2, &SPEC, None);
    step("rows of the step", &Ragged::from_lengths([1, 1]), 0, &SPEC, None);
    step("rows not those of extend", &Ragged::from_lengths([1, 2]), 0, &SPEC, None);
    step("heads of the bias", &pass, 0, &SPEC, Some(&three_heads(backend)?));
    // As wide as SPEC, of other heads than the cache.
    step("key-value heads", &pass, 0, &AttentionSpec { heads: 4, kv_heads: 1, ..SPEC }, None);
    let halves = AttentionSpec { heads: 8, kv_heads: 2, head_dim: 2, ..SPEC };
    step("head width", &pass, 0, &halves, None);
    step("precision", &pass, 0, &AttentionSpec { precision: Precision::Bf16, ..SPEC }, None);
    Ok(())
}

/// The order of calls on a cache, and reordering it.
fn orders<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let mut cache = backend.kv_cache(&CACHE)?;
    let (pass, x) = (Ragged::single_rows(2), backend.upload(&zeros(2, SPEC.qkv_width()))?);
    let early = backend.attend_step(&x, &pass, &mut cache, 0, &SPEC, None);
    calls.add("a step before extend", early);
    backend.extend(&mut cache, &pass)?;
    backend.attend_step(&x, &pass, &mut cache, 0, &SPEC, None)?;
    let twice = backend.attend_step(&x, &pass, &mut cache, 0, &SPEC, None);
    calls.add("a layer twice", twice);
    calls.add("extend before the last layer", backend.extend(&mut cache, &pass));
    calls.add("reorder before the last layer", backend.reorder(&mut cache, &[0, 1]));
    backend.attend_step(&x, &pass, &mut cache, 1, &SPEC, None)?;
    calls.add("a parent out of range", backend.reorder(&mut cache, &[0, 2]));
    calls.add("three children of two beams", backend.reorder(&mut cache, &[0, 0, 0, 1]));
    calls.add("sequences out of order", backend.reorder(&mut cache, &[1, 0]));
    calls.add("a sequence in two places", backend.reorder(&mut cache, &[0, 1, 0]));
    backend.reorder(&mut cache, &[0, 0, 1])?;
    calls.add("hypotheses of the last order", backend.extend(&mut cache, &pass));
    backend.reorder(&mut cache, &[2])?;
    calls.add("a dropped hypothesis", backend.reorder(&mut cache, &[1]));
    Ok(())
}

fn crosses<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let kv = backend.upload(&zeros(3, 2 * SPEC.kv_width()))?;
    let sources = Ragged::from_lengths([1, 2]);
    let rotary = Some(Rotary { inv_freq: vec![1.0].into(), scale: 1.0 });
    let rotated = AttentionSpec { rotary, ..SPEC };
    for (what, spec) in wrong_specs().into_iter().chain([("rotary positions", rotated.clone())]) {
        calls.add(what, backend.memory(&kv, &sources, &spec));
    }
    calls.add("rows of the memory", backend.memory(&kv, &Ragged::single_rows(2), &SPEC));
    let wide = backend.upload(&zeros(3, SPEC.kv_width()))?;
    calls.add("width of the memory", backend.memory(&wide, &sources, &SPEC));
    let memory = backend.memory(&kv, &sources, &SPEC)?;
    let q = backend.upload(&zeros(2, SPEC.inner()))?;
    let rows = Ragged::single_rows(2);
    let mut attend = |what, rows: &Ragged, sources: &[usize], spec: &AttentionSpec| {
        let mut weights = Vec::new();
        calls.add(what, backend.cross_attend(&q, rows, &memory, sources, spec, Some(&mut weights)));
        calls.add(
            what,
            match weights.is_empty() {
                true => Err(Error::invalid("cross_attend", "refused, nothing appended")),
                false => Ok(()),
            },
        );
    };
    attend("a source out of range", &rows, &[0, 2], &SPEC);
    attend("numbers of sources", &rows, &[0], &SPEC);
    attend("rows of the queries", &Ragged::single_rows(1), &[0], &SPEC);
    attend("rotary positions", &rows, &[0, 1], &rotated);
    attend("key-value heads", &rows, &[0, 1], &AttentionSpec { kv_heads: 1, ..SPEC });
    let halves = AttentionSpec { heads: 4, head_dim: 2, ..SPEC };
    attend("head width", &rows, &[0, 1], &halves);
    attend("width of the queries", &rows, &[0, 1], &AttentionSpec { heads: 4, ..SPEC });
    Ok(())
}

/// Rules that no vocabulary of 6 ids allows.
fn wrong_rules() -> [(&'static str, LogitRule); 8] {
    let ids = || vec![0, 6];
    [
        ("an added id out of range", LogitRule::Add(vec![(0, 1.0), (6, 1.0)])),
        ("a penalised id out of range", LogitRule::Penalise { ids: ids(), penalty: 2.0 }),
        ("a banned id out of range", LogitRule::Ban(ids())),
        ("a growing id out of range", LogitRule::Grow { ids: ids(), factor: 1.0 }),
        ("an only id out of range", LogitRule::Only(vec![u32::MAX])),
        ("a penalty of 0", LogitRule::Penalise { ids: vec![0], penalty: 0.0 }),
        ("a NaN penalty", LogitRule::Penalise { ids: vec![0], penalty: f32::NAN }),
        ("an infinite penalty", LogitRule::Penalise { ids: vec![0], penalty: f32::INFINITY }),
    ]
}

fn choices<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let x = backend.upload(&zeros(2, 6))?;
    let order = ScoreOrder::RulesThenNormalise;
    calls.add("k of 0", backend.top_k(&x, 0, order, &[]));
    calls.add("k beyond the vocabulary", backend.top_k(&x, 7, order, &[]));
    calls.add("numbers of rule lists", backend.top_k(&x, 1, order, &[vec![]]));
    for (what, rule) in wrong_rules() {
        calls.add(what, backend.top_k(&x, 1, order, &[vec![], vec![rule]]));
    }
    Ok(())
}

fn draws<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let x = backend.upload(&zeros(2, 6))?;
    let (fine, uniforms) = (Warp::default(), [0.5, 0.5]);
    let order = ScoreOrder::NormaliseThenRules;
    for (what, rule) in wrong_rules() {
        let rules = [vec![], vec![rule]];
        calls.add(what, backend.sample(&x, &rules, &fine, &uniforms));
        calls.add(what, backend.sample_k(&x, 1, order, &rules, &fine, &[0, 0]));
    }
    calls.add("k of 0", backend.sample_k(&x, 0, order, &[], &fine, &[0, 0]));
    calls.add("k beyond the vocabulary", backend.sample_k(&x, 7, order, &[], &fine, &[0, 0]));
    calls.add("numbers of rule lists", backend.sample_k(&x, 1, order, &[vec![]], &fine, &[0, 0]));
    calls.add("numbers of seeds", backend.sample_k(&x, 1, order, &[], &fine, &[0]));
    calls.add("numbers of rule lists", backend.sample(&x, &[vec![]], &fine, &uniforms));
    calls.add("numbers of uniforms", backend.sample(&x, &[], &fine, &[0.5]));
    for u in [-0.1, 1.0, f32::NAN, f32::INFINITY] {
        calls.add("a uniform outside [0, 1)", backend.sample(&x, &[], &fine, &[0.5, u]));
    }
    for warp in [
        Warp { temperature: 0.0, ..fine },
        Warp { temperature: -1.0, ..fine },
        Warp { temperature: f32::NAN, ..fine },
        Warp { temperature: f32::INFINITY, ..fine },
        Warp { top_p: 1.5, ..fine },
        Warp { top_p: f32::NAN, ..fine },
        Warp { min_p: -0.5, ..fine },
        Warp { min_p: f32::NAN, ..fine },
        Warp { typical_p: 0.0, ..fine },
        Warp { typical_p: f32::NAN, ..fine },
        Warp { epsilon_cutoff: 1.0, ..fine },
        Warp { epsilon_cutoff: f32::NAN, ..fine },
        Warp { eta_cutoff: -0.1, ..fine },
        Warp { eta_cutoff: f32::NAN, ..fine },
        Warp { min_keep: 0, ..fine },
    ] {
        calls.add("a warp out of range", backend.sample(&x, &[], &warp, &uniforms));
        calls.add("a warp out of range", backend.sample_k(&x, 1, order, &[], &warp, &[0, 0]));
    }
    for (what, rule) in wrong_rules() {
        calls.add(what, backend.choose(&x, &[vec![], vec![rule]], &Pick::Best));
    }
    calls.add("numbers of rule lists", backend.choose(&x, &[vec![]], &Pick::Best));
    let draw = Pick::Draw { warp: &fine, uniforms: &[0.5] };
    calls.add("numbers of uniforms", backend.choose(&x, &[], &draw));
    let all = LogitRule::Ban((0..6).collect());
    calls.add("every id banned", backend.sample(&x, &[vec![], vec![all]], &fine, &uniforms));
    for bad in [f32::NAN, f32::INFINITY] {
        let mut logits = [0.0; 12];
        logits[8] = bad;
        let x = backend.upload(&host(2, 6, &logits))?;
        calls.add("a logit without a distribution", backend.sample(&x, &[], &fine, &uniforms));
        let top = Warp { top_k: 2, top_p: 0.5, typical_p: 0.5, ..fine };
        calls.add("the same under warps", backend.sample(&x, &[], &top, &uniforms));
    }
    let empty = backend.upload(&zeros(2, 0))?;
    calls.add("no vocabulary", backend.sample(&empty, &[], &fine, &uniforms));
    Ok(())
}

/// No rows, no sequences, no hypotheses: results without rows, and no error.
pub fn empty_batches_are_allowed<B: SeqBackend>(backend: &B) -> Outcome {
    use crate::Rows;
    let none = Ragged::from_lengths([]);
    let x = backend.upload(&zeros(0, SPEC.qkv_width()))?;
    let layer = backend.pack(&LinearSpec::single(zeros(5, SPEC.qkv_width()), None), Format::F32)?;
    let weight = vector(&[1.0; 24]);
    let norm = NormSpec { kind: NormKind::Rms, eps: 1e-5, weight, bias: None };
    let table = backend.embedding(&zeros(3, 4))?;
    let kv = backend.upload(&zeros(0, 2 * SPEC.kv_width()))?;
    let q = backend.upload(&zeros(0, SPEC.inner()))?;
    let memory = backend.memory(&kv, &none, &SPEC)?;
    let mut cache = backend.kv_cache(&CacheSpec { sequences: 0, ..CACHE })?;
    backend.extend(&mut cache, &none)?;
    let spec = RecurrentSpec { cell: Cell::Gru, directions: vec![direction(24, 8)] };
    let recurrent = backend.recurrent(&spec, Format::F32)?;
    let (out, state) = backend.recur(&x, &none, &recurrent, None)?;
    let v = backend.additive(&vector(&[1.0; 24]))?;
    let scored = backend.additive_memory(&x, &q, &none)?;
    let results = [
        ("recur", out, 8),
        ("state of recur", state, 8),
        ("columns", backend.columns(&[Part { tensor: &x, columns: 1..3 }])?, 2),
        ("stack_rows", backend.stack_rows(&[&x, &x])?, 24),
        ("windows", backend.windows(&x, &[], &Windows::line(3, 1, 1))?, 72),
        ("additive_attend", backend.additive_attend(&x, &none, &v, &scored, &[], None)?, q.width()),
        ("linear", backend.linear(&x, &layer, Epilogue::NONE)?, 5),
        ("norm", backend.norm(&x, &backend.norm_weights(&norm)?)?, 24),
        ("embed", backend.embed(&[Lookup { table: &table, ids: &[], scale: 1.0 }])?, 4),
        ("gather_rows", backend.gather_rows(&x, &[])?, 24),
        ("pool", backend.pool(&x, &none, Pool::Mean)?, 24),
        ("attend", backend.attend(&x, &none, &SPEC, None)?, 8),
        ("attend_step", backend.attend_step(&x, &none, &mut cache, 0, &SPEC, None)?, 8),
        ("attend_step", backend.attend_step(&x, &none, &mut cache, 1, &SPEC, None)?, 8),
        ("cross_attend", backend.cross_attend(&q, &none, &memory, &[], &SPEC, None)?, 8),
    ];
    for (what, y, width) in &results {
        if (y.rows(), y.width()) != (0, *width) || !backend.download(y)?.is_empty() {
            return fail(format!(
                "{what}: {} rows of {}, expected 0 of {width}",
                y.rows(),
                y.width()
            ));
        }
    }
    backend.reorder(&mut cache, &[])?;
    let chosen = backend.top_k(&x, 3, ScoreOrder::RulesThenNormalise, &[])?;
    let drawn = backend.sample(&x, &[], &Warp::default(), &[])?;
    let order = ScoreOrder::NormaliseThenRules;
    let draws = backend.sample_k(&x, 3, order, &[], &Warp::default(), &[])?;
    let none = chosen.ids.is_empty() && drawn.ids.is_empty() && draws.ids.is_empty();
    match none && chosen.k == 3 && draws.k == 3 {
        true => Ok(()),
        false => fail("choices from no rows".into()),
    }
}
