//! The key-value cache: steps over it give the bits of attention over whole sequences, however it came about.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::cache, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! cache::is_batch_invariant(&backend)?;
//! cache::refuses_without_change(&backend)?;
//! cache::follows_what_was_chosen(&backend)?;
//! cache::reorders_as_if_recomputed(&backend)?;
//! cache::steps_match_reference(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! Over longer sequences, over which the reference takes longer:
//!
//! ```
//! use seq2seq_core::{SeqBackend, conformance::{Outcome, cache}};
//!
//! fn pieces_are_the_whole<B: SeqBackend>(backend: &B) -> Outcome {
//!     cache::gives_the_bits_of_the_whole(backend)
//! }
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Rows, reference::Reference};
//! use seq2seq_core::conformance::{Op, Timed, attention, cache::{Case, Decode, Prepared, Step}};
//!
//! // Prompts of three and one positions, then four steps of up to three beams.
//! let attention = attention::Case { head_dim: 8, ..attention::Case::plain(vec![3, 1], 2, 2) };
//! let case = Case { attention: attention.clone(), layers: 2, beams: 3, steps: 4, most: 1 };
//! let rows = Decode::run(&Reference, &case)?;
//! assert!(rows.iter().all(|v| v.is_finite()));
//!
//! // A step over contexts of three and one, which grow with each pass over the layers.
//! let mut prepared: Prepared<Reference> = Step::prepare(&Reference, &attention)?;
//! for _ in 0..Step::calls(&attention) {
//!     assert_eq!(Step::call(&Reference, &mut prepared)?.rows(), 2);
//! }
//! assert!(Step::call(&Reference, &mut prepared).is_err()); // there is room for no more
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::attention::{self, Case as Attention};
use super::values::Random;
use super::{Cases, Op, Outcome, Timed, bits, each, length, rows_of, within};
use crate::{
    AttentionSpec, Beams, CacheSpec, DecoderOps, HostTensor, Pick, Ragged, Result, ScoreOrder,
    SeqBackend,
};
use proptest::prelude::*;

/// One decoding: passes over a cache, with reordering between them.
#[derive(Debug, Clone)]
pub struct Case {
    /// Shape and kind of the attention; its lengths are those of the first pass.
    pub attention: Attention,
    /// L
    pub layers: usize,
    /// Hypotheses a sequence may be spread over.
    pub beams: usize,
    /// Passes after the first.
    pub steps: usize,
    /// Rows that a hypothesis may grow by in one of them: 1 in ordinary decoding, 0 to `most` otherwise.
    pub most: usize,
}

/// What one hypothesis has been through: for each layer its packed rows, and what attention gave for each.
#[derive(Debug, Clone, Default)]
struct History {
    origin: usize,
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

struct Decoding<'a, B: DecoderOps> {
    backend: &'a B,
    case: &'a Case,
    spec: AttentionSpec,
    bias: Option<B::RelativeBias>,
    cache: B::KvCache,
    histories: Vec<History>,
    /// Hypotheses that nobody continued.
    dropped: Vec<History>,
    random: Random,
}

impl Case {
    /// A cache that has just room for the longest hypothesis.
    fn cache_spec(&self) -> CacheSpec {
        let a = &self.attention;
        CacheSpec {
            layers: self.layers,
            kv_heads: a.kv_heads,
            head_dim: a.head_dim,
            sequences: a.lengths.len(),
            beams: self.beams,
            capacity: a.rows().longest() + self.steps * self.most,
            precision: a.precision,
        }
    }
}

impl<'a, B: DecoderOps> Decoding<'a, B> {
    fn new(backend: &'a B, case: &'a Case) -> Result<Self> {
        let empty = |origin| History {
            origin,
            inputs: vec![Vec::new(); case.layers],
            outputs: vec![Vec::new(); case.layers],
        };
        Ok(Self {
            backend,
            case,
            // A step is causal whatever the spec says.
            spec: case.attention.spec(),
            bias: case.attention.bias(backend)?,
            cache: backend.kv_cache(&case.cache_spec())?,
            histories: (0..case.attention.lengths.len()).map(empty).collect(),
            dropped: Vec::new(),
            random: Random::new(case.attention.seed + 99),
        })
    }

    /// One pass, as a step: what it downloads on the way is there, and what it makes outlasts it.
    fn pass(&mut self, lengths: impl IntoIterator<Item = usize>) -> Result<()> {
        let rows = Ragged::from_lengths(lengths);
        self.backend.extend(&mut self.cache, &rows)?;
        self.backend.step(|| self.layers(&rows))
    }

    fn layers(&mut self, rows: &Ragged) -> Result<()> {
        let (width, inner) = (self.spec.qkv_width(), self.spec.inner());
        for layer in 0..self.case.layers {
            let x = self.case.attention.rows_for(rows.rows(), self.random.bits());
            let qkv = self.backend.upload(&x)?;
            let y = self.backend.attend_step(
                &qkv,
                rows,
                &mut self.cache,
                layer,
                &self.spec,
                self.bias.as_ref(),
            )?;
            let (x, y) = (x.to_f32(), self.backend.download(&y)?);
            for (history, range) in self.histories.iter_mut().zip(rows.ranges()) {
                history.inputs[layer].extend(&x[range.start * width..range.end * width]);
                history.outputs[layer].extend(&y[range.start * inner..range.end * inner]);
            }
        }
        Ok(())
    }

    /// Children at random: none for a sequence now and then, up to `beams` otherwise, of parents in any order.
    fn reorder(&mut self) -> Result<()> {
        let mut parents = Vec::new();
        for origin in 0..self.case.attention.lengths.len() {
            let own: Vec<usize> =
                (0..self.histories.len()).filter(|&i| self.histories[i].origin == origin).collect();
            let ends = self.random.uniform() < 0.08;
            if own.is_empty() || ends {
                continue;
            }
            let children = 1 + self.random.below(self.case.beams);
            parents.extend((0..children).map(|_| own[self.random.below(own.len())]));
        }
        self.backend.reorder(&mut self.cache, &parents)?;
        self.follow(&parents);
        Ok(())
    }

    /// Does to the histories what was done to the cache.
    fn follow(&mut self, parents: &[usize]) {
        let old = std::mem::take(&mut self.histories);
        self.histories = parents.iter().map(|&p| old[p].clone()).collect();
        let gone = old.into_iter().enumerate().filter(|(i, _)| !parents.contains(i));
        self.dropped.extend(gone.map(|(_, history)| history));
    }

    /// `beams` children of each hypothesis that there is, or of each but one.
    fn spread(&mut self) -> Result<()> {
        let all = self.histories.len();
        let gone =
            if all > 1 && self.random.uniform() < 0.3 { self.random.below(all) } else { all };
        let beams = self.case.beams;
        let parents: Vec<usize> =
            (0..all).filter(|&i| i != gone).flat_map(|i| vec![i; beams]).collect();
        self.backend.reorder(&mut self.cache, &parents)?;
        self.follow(&parents);
        Ok(())
    }

    /// Hypotheses that are chosen go on: of each sequence as many as there are.
    fn reorder_chosen(&mut self) -> Result<()> {
        const VOCAB: usize = 3;
        let rows = self.histories.len();
        let logits: Vec<f32> = (0..rows * VOCAB).map(|_| self.random.normal() as f32).collect();
        let logits = self.backend.upload(&super::host(rows, VOCAB, &logits))?;
        let (width, order) = (self.case.beams, ScoreOrder::NormaliseThenRules);
        let scores = vec![-1.0; rows];
        let beams =
            Beams { width, k: VOCAB, keep: 2 * width, order, scores: &scores, endings: &[2] };
        let chosen = self.backend.choose(&logits, &[], &Pick::Beams(beams))?;
        self.backend.reorder_chosen(&mut self.cache, &chosen)?;
        if let Some(parents) = self.backend.chosen(&chosen)?.parents() {
            self.follow(parents);
        }
        Ok(())
    }

    /// The hypotheses of a sequence end, or are put into another order.
    fn drop_or_turn(&mut self) -> Result<()> {
        let beams = self.case.beams;
        let sequences = self.histories.len() / beams;
        let parents: Vec<usize> = match self.random.below(3) {
            0 if sequences > 1 => {
                let gone = self.random.below(sequences);
                (0..self.histories.len()).filter(|i| i / beams != gone).collect()
            }
            1 => (0..self.histories.len())
                .map(|i| i / beams * beams + (beams - 1 - i % beams))
                .collect(),
            _ => return Ok(()),
        };
        self.backend.reorder(&mut self.cache, &parents)?;
        self.follow(&parents);
        Ok(())
    }

    /// Recomputes every hypothesis from scratch, causally, in one batch; each row must have the bits it had.
    fn check(&self) -> Outcome {
        let spec = AttentionSpec { causal: true, ..self.spec.clone() };
        let all = || self.histories.iter().chain(&self.dropped);
        let width = spec.qkv_width();
        for layer in 0..self.case.layers {
            let rows = Ragged::from_lengths(all().map(|h| h.inputs[layer].len() / width));
            let x: Vec<f32> = all().flat_map(|h| &h.inputs[layer]).copied().collect();
            let qkv = self.backend.upload(&super::host(rows.rows(), width, &x))?;
            let whole = self.backend.attend(&qkv, &rows, &spec, self.bias.as_ref())?;
            let whole = self.backend.download(&whole)?;
            let stepped: Vec<f32> = all().flat_map(|h| &h.outputs[layer]).copied().collect();
            bits(&format!("layer {layer} by steps"), &whole, &stepped)?;
        }
        Ok(())
    }

    /// Holds rows of every hypothesis to the bounds of causal attention over its history.
    fn judge(&self) -> Outcome {
        let attention = Attention { causal: true, ..self.case.attention.clone() };
        let (width, inner) = (self.spec.qkv_width(), self.spec.inner());
        for history in self.histories.iter().chain(&self.dropped) {
            for (layer, (x, y)) in history.inputs.iter().zip(&history.outputs).enumerate() {
                let x: Vec<Vec<f32>> = x.chunks(width).map(<[f32]>::to_vec).collect();
                let judged = |p: &usize| x.len() <= 24 || p.is_multiple_of(13) || p + 2 > x.len();
                for position in (0..x.len()).filter(judged) {
                    let bounds = attention.bounds(&x[..=position], position)?;
                    let what = format!("layer {layer} by steps, position {position}");
                    within(&what, &bounds, &y[position * inner..][..inner])?;
                }
            }
        }
        Ok(())
    }

    /// What attention gave for each row that a hypothesis still goes back to.
    fn outputs(self) -> Vec<f32> {
        self.histories.into_iter().flat_map(|h| h.outputs).flatten().collect()
    }
}

fn decode<'a, B: DecoderOps>(
    backend: &'a B,
    case: &'a Case,
    reorder: bool,
) -> Result<Decoding<'a, B>> {
    let mut decoding = Decoding::new(backend, case)?;
    decoding.pass(case.attention.lengths.iter().copied())?;
    for _ in 0..case.steps {
        if reorder {
            decoding.reorder()?;
        }
        let lengths: Vec<usize> = (0..decoding.histories.len())
            .map(|_| match case.most {
                1 => 1,
                most => decoding.random.below(most + 1),
            })
            .collect();
        decoding.pass(lengths)?;
    }
    Ok(decoding)
}

/// [`DecoderOps::extend`], [`attend_step`](DecoderOps::attend_step) and [`reorder`](DecoderOps::reorder).
pub struct Decode;

impl Op for Decode {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        let decoding = decode(backend, case, true)?;
        decoding.check().map_err(|f| crate::Error::invalid("decode", f.0))?;
        Ok(decoding.outputs())
    }
}

impl Cases for Decode {
    fn cases() -> BoxedStrategy<Case> {
        let lengths = proptest::collection::vec(length(), 1..=4);
        let shape = (1..=3usize, 1..=4usize, 0..=14usize);
        let most = prop_oneof![3 => Just(1usize), 1 => 2..=20usize];
        (attention::cases(lengths), shape, most)
            .prop_map(|(attention, (layers, beams, steps), most)| Case {
                attention,
                layers,
                beams,
                steps,
                most,
            })
            .boxed()
    }
}

/// One call of [`DecoderOps::attend_step`]: a new row for each hypothesis over what it holds, in one layer after another.
/// A pass over all layers makes the context longer by one position.
pub struct Step;

impl Step {
    /// Layers of the cache; so many that each finds its keys and values where a decoding does, which is not the nearest cache.
    pub const LAYERS: usize = 16;

    /// Passes before the context is another one: a sixteenth of it.
    pub fn passes(case: &Attention) -> usize {
        (case.rows().longest() / 16).max(1)
    }
}

/// A filled cache and the rows of the next step.
pub struct Prepared<B: DecoderOps> {
    cache: B::KvCache,
    /// That attends next.
    layer: usize,
    qkv: B::Tensor,
    rows: Ragged,
    spec: AttentionSpec,
    bias: Option<B::RelativeBias>,
}

impl Op for Step {
    /// Its lengths are those of the contexts.
    type Case = Attention;

    fn run<B: SeqBackend>(backend: &B, case: &Attention) -> Result<Vec<f32>> {
        super::run_timed::<B, Self>(backend, case)
    }
}

impl Cases for Step {
    fn cases() -> BoxedStrategy<Attention> {
        attention::Attend::cases()
    }
}

impl Timed for Step {
    const NAME: &'static str = "attend_step";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = B::Tensor;

    fn real() -> Vec<(String, Attention)> {
        let t5 = |context, rows| Attention::plain(vec![context; rows], 12, 12);
        let llama =
            |context| Attention { rotary: Some(true), ..Attention::plain(vec![context], 32, 4) };
        vec![
            ("t5-base, context 64".into(), t5(64, 1)),
            ("t5-base, 8 of context 64".into(), t5(64, 8)),
            ("tinyllama, context 128".into(), llama(128)),
            ("tinyllama, context 1024".into(), llama(1024)),
        ]
    }

    fn calls(case: &Attention) -> usize {
        Self::LAYERS * Self::passes(case)
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Attention) -> Result<Prepared<B>> {
        let (spec, bias, context) = (case.spec(), case.bias(backend)?, case.rows());
        let mut cache = backend.kv_cache(&CacheSpec {
            layers: Self::LAYERS,
            kv_heads: case.kv_heads,
            head_dim: case.head_dim,
            sequences: case.lengths.len(),
            beams: 1,
            capacity: context.longest() + Self::passes(case),
            precision: case.precision,
        })?;
        backend.extend(&mut cache, &context)?;
        let qkv = backend.upload(&case.qkv())?;
        for layer in 0..Self::LAYERS {
            backend.attend_step(&qkv, &context, &mut cache, layer, &spec, bias.as_ref())?;
        }
        let rows = Ragged::single_rows(context.sequences());
        let qkv = backend.upload(&case.rows_for(rows.rows(), case.seed + 1))?;
        Ok(Prepared { cache, layer: 0, qkv, rows, spec, bias })
    }

    fn call<B: SeqBackend>(backend: &B, p: &mut Prepared<B>) -> Result<B::Tensor> {
        if p.layer == 0 {
            backend.extend(&mut p.cache, &p.rows)?;
        }
        let layer = p.layer;
        p.layer = (layer + 1) % Self::LAYERS;
        backend.attend_step(&p.qkv, &p.rows, &mut p.cache, layer, &p.spec, p.bias.as_ref())
    }
}

/// Passes of any size, without reordering: each row has the bits that causal attention over the whole sequence gives it.
pub fn gives_the_bits_of_the_whole<B: SeqBackend>(backend: &B) -> Outcome {
    // Beyond 300 positions, by large and small steps.
    let long = attention::cases(Just(vec![250, 0])).prop_map(|attention| Case {
        attention: Attention { head_dim: attention.head_dim.min(33), ..attention },
        layers: 1,
        beams: 1,
        steps: 6,
        most: 30,
    });
    each(prop_oneof![8 => Decode::cases(), 1 => long], |case| decode(backend, case, false)?.check())
}

/// Random trees of hypotheses over many steps, prompts of unequal lengths, sequences that end midway: every hypothesis
/// that there ever was has, in every row, the bits of attention over its own history from scratch.
pub fn reorders_as_if_recomputed<B: SeqBackend>(backend: &B) -> Outcome {
    each(Decode::cases(), |case| decode(backend, case, true)?.check())
}

/// Beams whose parents were chosen, which the cache is told without their being known: before a pass, behind one, and between
/// two; prompts of unequal lengths, sequences that end midway, passes of several rows now and then. The bits are those of
/// attention over their own histories.
pub fn follows_what_was_chosen<B: SeqBackend>(backend: &B) -> Outcome {
    each(Decode::cases(), |case| {
        let mut decoding = Decoding::new(backend, case)?;
        decoding.pass(case.attention.lengths.iter().copied())?;
        decoding.spread()?;
        for step in 0..case.steps {
            // Twice without a pass between, or followed by what the host knows.
            let kind = decoding.random.below(6);
            decoding.reorder_chosen()?;
            if kind == 0 {
                decoding.reorder_chosen()?;
            }
            if kind == 1 {
                decoding.drop_or_turn()?;
            }
            let rows = if kind == 2 { 1 + step % case.most } else { 1 };
            decoding.pass(vec![rows; decoding.histories.len()])?;
            if kind > 3 {
                decoding.drop_or_turn()?;
            }
        }
        decoding.check()
    })
}

/// The same trees within the bounds of attention: for backends that sum in another order over a cache than over a whole
/// sequence. It is not in the suite, where the bits are those of [`attend`](crate::EncoderOps::attend), which is.
pub fn steps_match_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(Decode::cases(), |case| decode(backend, case, true)?.judge())
}

/// A prompt alone in a cache gives the bits that it gives beside others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(Decode::cases(), |case| {
        let x = case.attention.qkv();
        let whole = prompt(backend, case, &x, &case.attention.rows())?;
        let inner = case.attention.spec().inner();
        for (i, range) in case.attention.rows().ranges().enumerate() {
            let expected = &whole[range.start * inner..range.end * inner];
            let rows = Ragged::from_lengths([range.len()]);
            let got = prompt(backend, case, &rows_of(&x, range), &rows)?;
            bits(&format!("sequence {i} alone"), expected, &got)?;
        }
        Ok(())
    })
}

fn prompt<B: DecoderOps>(
    backend: &B,
    case: &Case,
    x: &HostTensor,
    rows: &Ragged,
) -> Result<Vec<f32>> {
    let spec = CacheSpec { layers: 1, sequences: rows.sequences(), ..case.cache_spec() };
    let mut cache = backend.kv_cache(&spec)?;
    backend.extend(&mut cache, rows)?;
    let bias = case.attention.bias(backend)?;
    let (qkv, spec) = (backend.upload(x)?, case.attention.spec());
    backend.download(&backend.attend_step(&qkv, rows, &mut cache, 0, &spec, bias.as_ref())?)
}

/// A call that is refused leaves the cache as it was: the decoding goes on to the same bits.
pub fn refuses_without_change<B: SeqBackend>(backend: &B) -> Outcome {
    each(Decode::cases(), |case| {
        let undisturbed = decode(backend, case, false)?.outputs();
        let mut decoding = Decoding::new(backend, case)?;
        decoding.pass(case.attention.lengths.iter().copied())?;
        for _ in 0..case.steps {
            let held = decoding.histories.len();
            let too_long =
                Ragged::from_lengths((0..held).map(|i| if i + 1 == held { 1_000_000 } else { 1 }));
            let refused = [
                backend.extend(&mut decoding.cache, &too_long),
                backend.extend(&mut decoding.cache, &Ragged::single_rows(held + 1)),
                backend.reorder(&mut decoding.cache, &[held]),
                backend.reorder(&mut decoding.cache, &vec![0; case.beams + 1]),
            ];
            if let Some(i) = refused.iter().position(Result::is_ok) {
                return super::fail(format!("wrong call {i} was accepted"));
            }
            let lengths: Vec<usize> = (0..held)
                .map(|_| if case.most == 1 { 1 } else { decoding.random.below(case.most + 1) })
                .collect();
            decoding.pass(lengths)?;
        }
        bits("after refused calls", &undisturbed, &decoding.outputs())
    })
}
