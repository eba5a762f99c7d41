//! The decoder: whole sequences at once where no step reads what the one before gave, step by step elsewhere.

use super::{
    attention::{Asking, Attention},
    layer::{Layer, LayerShape},
    state::{Moving, State},
    steps::Steps,
};
use crate::{
    Error, Result,
    blocks::Ids,
    checkpoint::{Part as Matrix, Scope},
    plan::{Bridge, RecurrentAttention, RecurrentPlan},
};
use seq2seq_core::{
    Activation, Cell, Epilogue, HostTensor, Lookup, Part, Ragged, Rows, SeqBackend, Side, Stage,
};

/// Embedded tokens, and what is fed beside them, through the layers and the attention.
pub(super) struct Decoder<B: SeqBackend> {
    tokens: B::Embedding,
    layers: Vec<Layer<B>>,
    attention: Option<Attention<B>>,
    /// One a layer, of a dense bridge.
    bridges: Vec<DenseBridge<B>>,
    pub(super) plan: RecurrentPlan,
}

struct DenseBridge<B: SeqBackend> {
    h: B::Linear,
    c: Option<B::Linear>,
}

impl<B: SeqBackend> DenseBridge<B> {
    /// What a layer begins with, from what that of the encoder ended with: h and c, each `memory` wide.
    fn forward(&self, backend: &B, end: &B::Tensor, memory: usize) -> Result<B::Tensor> {
        let half = |columns| backend.columns(&[Part { tensor: end, columns }]);
        let tanh = Epilogue::activation(Activation::Tanh);
        let h = backend.linear(&half(0..memory)?, &self.h, tanh)?;
        let Some(layer) = &self.c else { return Ok(h) };
        let c = backend.linear(&half(memory..2 * memory)?, layer, Epilogue::NONE)?;
        Ok(backend.columns(&[Part::all(&h), Part::all(&c)])?)
    }

    /// The same from a point z, `[B, Z]`, that h and c are both made of.
    fn forward_from(&self, backend: &B, z: &B::Tensor) -> Result<B::Tensor> {
        let h = backend.linear(z, &self.h, Epilogue::activation(Activation::Tanh))?;
        let Some(layer) = &self.c else { return Ok(h) };
        let c = backend.linear(z, layer, Epilogue::NONE)?;
        Ok(backend.columns(&[Part::all(&h), Part::all(&c)])?)
    }
}

impl<B: SeqBackend> Decoder<B> {
    pub(super) fn load(plan: &RecurrentPlan, scope: &Scope<'_, '_, B>) -> Result<Self> {
        let layers = scope.at("layers");
        let layer = |i: usize| {
            let shape = LayerShape {
                cell: plan.cell,
                inputs: if i == 0 { plan.embedding + plan.fed() } else { plan.width },
                width: plan.width,
                bidirectional: false,
            };
            Layer::load(shape, &layers.at(i))
        };
        let bridge = |i: usize| {
            let scope = layers.at(i).at("bridge");
            let linear = |name| {
                scope.linear(plan.given(), &[Matrix { name, outputs: plan.width, bias: true }])
            };
            let c = (plan.cell == Cell::Lstm).then(|| linear("c")).transpose()?;
            Ok(DenseBridge { h: linear("h")?, c })
        };
        let bridges = match plan.bridge {
            Bridge::Copy => 0..0,
            Bridge::Dense => 0..plan.layers,
        };
        Ok(Self {
            tokens: scope.at("embed").embedding("tokens", plan.target_vocab, plan.embedding)?,
            layers: (0..plan.layers).map(layer).collect::<Result<_>>()?,
            attention: Attention::load(plan, &scope.at("cross"))?,
            bridges: bridges.map(bridge).collect::<Result<_>>()?,
            plan: plan.clone(),
        })
    }

    /// Whether there is attention, whose weights could be looked at.
    pub(super) fn attends(&self) -> bool {
        self.attention.is_some()
    }

    /// The state before the first step, from what the encoder gave: one hypothesis a source.
    pub(super) fn begin(
        &self,
        backend: &B,
        memory: &B::Tensor,
        rows: &Ragged,
        ends: Vec<B::Tensor>,
    ) -> Result<State<B>> {
        let count = rows.sequences();
        let fed = match (&self.attention, self.plan.input_feeding) {
            (None, true) => {
                let last = ends.last().ok_or_else(|| Error::input("an encoder has layers"))?;
                let columns = 0..self.plan.memory();
                Some(backend.columns(&[Part { tensor: last, columns }])?)
            }
            (Some(_), true) if !self.asks_first() => {
                let zeros = vec![0.0; count * self.plan.width];
                Some(backend.upload(&HostTensor::from_f32(vec![count, self.plan.width], &zeros)?)?)
            }
            _ => None,
        };
        let memory = match &self.attention {
            Some(attention) => Some(attention.memory(backend, memory, rows)?),
            None => None,
        };
        let layers = match self.plan.bridge {
            Bridge::Copy => ends,
            Bridge::Dense => self
                .bridges
                .iter()
                .zip(&ends)
                .map(|(bridge, end)| bridge.forward(backend, end, self.plan.memory()))
                .collect::<Result<_>>()?,
        };
        let moving = Moving { layers, fed, sources: (0..count).collect() };
        Ok(State { moving, memory, source_rows: rows.clone() })
    }

    /// The same from points z, `[B, Z]`, which are all that is known of their sources.
    pub(super) fn begin_at(&self, backend: &B, z: &B::Tensor) -> Result<State<B>> {
        let count = z.rows();
        let from = |bridge: &DenseBridge<B>| bridge.forward_from(backend, z);
        let layers = self.bridges.iter().map(from).collect::<Result<_>>()?;
        let fed = match self.plan.input_feeding {
            true => Some(backend.columns(&[Part::all(z)])?),
            false => None,
        };
        let moving = Moving { layers, fed, sources: (0..count).collect() };
        Ok(State { moving, memory: None, source_rows: Ragged::single_rows(count) })
    }

    /// Whether the state before a step asks for the context, as in Bahdanau's decoder.
    pub(super) fn asks_first(&self) -> bool {
        matches!(self.plan.attention, RecurrentAttention::Bahdanau { .. })
    }

    /// The next ids of each hypothesis, `ids` divided by `rows`: gives what their scores are made of, `[N, M]`. The
    /// attention of each row is appended to `weights`. After an error the state is of no further use.
    pub(super) fn forward(
        &self,
        backend: &B,
        ids: Ids<'_, B>,
        rows: &Ragged,
        state: &mut State<B>,
        weights: Option<&mut Vec<f32>>,
    ) -> Result<B::Tensor> {
        let x = match ids {
            Ids::Known(ids) => backend.embed(&[Lookup { table: &self.tokens, ids, scale: 1.0 }]),
            Ids::Chosen(chosen) => backend.embed_chosen((&self.tokens, 1.0), chosen, &[]),
        }?;
        backend.observe(Stage::Embedding(Side::Decoder), &x)?;
        let State { moving, memory, source_rows } = state;
        match (&self.attention, memory) {
            (Some(attention), Some(memory)) if self.plan.is_sequential() => {
                let steps = Steps { decoder: self, backend, attention, memory };
                match rows.lengths().all(|n| n == 1) {
                    true => steps.step(&x, rows, moving, weights),
                    false => steps.all(&x, rows, moving, source_rows, weights),
                }
            }
            (attention, memory) => {
                let x = self.at_once(backend, x, rows, moving)?;
                match (attention, memory) {
                    (Some(attention), Some(memory)) => {
                        let asking = Asking { rows, sources: &moving.sources, weights };
                        let context = attention.context(backend, &x, memory, asking)?;
                        attention.output(backend, &context, &x)
                    }
                    _ => Ok(x),
                }
            }
        }
    }

    /// The layers over all rows at once, which read what they are fed and not what the step before gave.
    fn at_once(
        &self,
        backend: &B,
        x: B::Tensor,
        rows: &Ragged,
        moving: &mut Moving<B>,
    ) -> Result<B::Tensor> {
        let Moving { layers, fed, .. } = moving;
        let Some(context) = fed else { return self.recur(backend, x, rows, layers) };
        let repeated = match rows.lengths().all(|n| n == 1) {
            true => None,
            false => {
                let of = |(i, n)| std::iter::repeat_n(i, n);
                let owners: Vec<usize> = rows.lengths().enumerate().flat_map(of).collect();
                Some(backend.gather_rows(context, &owners)?)
            }
        };
        let context = repeated.as_ref().unwrap_or(context);
        let x = backend.columns(&[Part::all(&x), Part::all(context)])?;
        self.recur(backend, x, rows, layers)
    }

    /// Through all layers.
    pub(super) fn recur(
        &self,
        backend: &B,
        mut x: B::Tensor,
        rows: &Ragged,
        states: &mut [B::Tensor],
    ) -> Result<B::Tensor> {
        for (i, (layer, state)) in self.layers.iter().zip(states).enumerate() {
            if i > 0 {
                x = backend.dropout(x, self.plan.dropout)?;
            }
            let (y, end) = layer.forward(backend, &x, rows, Some(state))?;
            (x, *state) = (y, end);
            backend.observe(Stage::Layer(Side::Decoder, i), &x)?;
        }
        Ok(x)
    }
}
