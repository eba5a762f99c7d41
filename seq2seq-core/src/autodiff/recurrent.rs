//! The operations of recurrent models.

use super::Autodiff;
use super::layers::{
    Additive, AdditiveMemory, AdditiveMemoryShared, AdditiveShared, PartIds, Recurrent,
    RecurrentShared, read, recurrent_masters,
};
use super::tape::{Attended, ColumnsPart, Record, Recurrence, Tensor};
use crate::backend::check;
use crate::train::{Recurred, TrainBackend};
use crate::{Error, Format, HostTensor, Part, Ragged, RecurrentOps, RecurrentSpec, Result, Rows};
use std::sync::{Arc, RwLock};

impl<B: TrainBackend> RecurrentOps for Autodiff<B> {
    type Recurrent = Recurrent<B>;
    type Additive = Additive<B>;
    type AdditiveMemory = AdditiveMemory<B>;

    fn recurrent(&self, spec: &RecurrentSpec, format: Format) -> Result<Recurrent<B>> {
        const OP: &str = "recurrent";
        check::train_format(format)?;
        check::recurrent(spec, format)?;
        let mut parameters = self.parameters();
        let mut parts = Vec::with_capacity(spec.directions.len());
        for part in &spec.directions {
            let bias = part.bias.as_ref().map(|b| parameters.enter(OP, &self.inner, b));
            parts.push(PartIds {
                weight: parameters.enter(OP, &self.inner, &part.weight)?,
                bias: bias.transpose()?,
                transposed: false,
                beside: None,
            });
        }
        let cell = spec.cell;
        let masters = recurrent_masters(&parameters, &parts, cell);
        let layer = RwLock::new(self.inner.pack_recurrent(&masters, format)?);
        drop(parameters);
        Ok(Recurrent { shared: self.watch(RecurrentShared { layer, parts, cell }) })
    }

    fn recur(
        &self,
        x: &Tensor<B>,
        rows: &Ragged,
        layer: &Recurrent<B>,
        state: Option<&Tensor<B>>,
    ) -> Result<(Tensor<B>, Tensor<B>)> {
        let shared = &layer.shared;
        let trained = {
            let parameters = self.parameters();
            shared.parts.iter().any(|part| part.trained(&parameters))
        };
        let tape = self.tape();
        let keep = tape.is_some() && (trained || x.depends() || state.is_some_and(Tensor::depends));
        let below = state.map(Tensor::value);
        let Recurred { y, end, kept } =
            self.inner.recur_forward(x.value(), rows, &read(&shared.layer), below, keep)?;
        match (tape, kept) {
            (Some(mut tape), Some(kept)) => {
                if let Some(state) = state {
                    tape.node(state)?;
                }
                let y = Arc::new(y);
                let recurrence = Recurrence {
                    layer: shared.clone(),
                    rows: rows.clone(),
                    x: tape.node(x)?,
                    state: state.cloned(),
                    y: y.clone(),
                    kept,
                    dend: None,
                };
                Ok(tape.push_recurrence(y, end, recurrence))
            }
            _ => Ok((Tensor::constant(y), Tensor::constant(end))),
        }
    }

    fn columns(&self, parts: &[Part<'_, Tensor<B>>]) -> Result<Tensor<B>> {
        let below: Vec<_> = parts
            .iter()
            .map(|part| Part { tensor: part.tensor.value(), columns: part.columns.clone() })
            .collect();
        let y = self.inner.columns(&below)?;
        match self.tape() {
            Some(mut tape) if parts.iter().any(|part| part.tensor.depends()) => {
                let part = |part: &Part<'_, Tensor<B>>| {
                    let (width, columns) = (part.tensor.width(), part.columns.clone());
                    Ok(ColumnsPart { x: tape.place(part.tensor)?, width, columns })
                };
                let parts = parts.iter().map(part).collect::<Result<_>>()?;
                Ok(tape.push(Arc::new(y), Record::Columns(parts)))
            }
            _ => Ok(Tensor::constant(y)),
        }
    }

    fn stack_rows(&self, parts: &[&Tensor<B>]) -> Result<Tensor<B>> {
        let below: Vec<_> = parts.iter().map(|part| part.value()).collect();
        let y = self.inner.stack_rows(&below)?;
        match self.tape() {
            Some(mut tape) if parts.iter().any(|part| part.depends()) => {
                let part = |part: &&Tensor<B>| Ok((tape.node(part)?, part.rows()));
                let parts = parts.iter().map(part).collect::<Result<_>>()?;
                Ok(tape.push(Arc::new(y), Record::StackRows(parts)))
            }
            _ => Ok(Tensor::constant(y)),
        }
    }

    fn additive(&self, v: &HostTensor) -> Result<Additive<B>> {
        let held = RwLock::new(self.inner.additive(v)?);
        let v = self.parameters().enter("additive", &self.inner, v)?;
        Ok(Additive { shared: self.watch(AdditiveShared { held, v }) })
    }

    fn additive_memory(
        &self,
        keys: &Tensor<B>,
        values: &Tensor<B>,
        rows: &Ragged,
    ) -> Result<AdditiveMemory<B>> {
        let memory = self.inner.additive_memory(keys.value(), values.value(), rows)?;
        let shared = AdditiveMemoryShared { memory, keys: keys.clone(), values: values.clone() };
        Ok(AdditiveMemory { shared: Arc::new(shared) })
    }

    fn additive_attend(
        &self,
        q: &Tensor<B>,
        rows: &Ragged,
        v: &Additive<B>,
        memory: &AdditiveMemory<B>,
        sources: &[usize],
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor<B>> {
        let (held, by) = (&memory.shared, &v.shared);
        let depends = self.parameters().trained(by.v)
            || [q, &held.keys, &held.values].iter().any(|x| x.depends());
        let below = read(&by.held);
        match self.tape() {
            Some(mut tape) if depends => {
                if weights.is_some() {
                    return Err(Error::Unsupported {
                        what: "the weights of additive_attend in a pass that is recorded".into(),
                        hint: "attention weights are for a pass that is not".into(),
                    });
                }
                for x in [q, &held.keys, &held.values] {
                    tape.node(x)?;
                }
                let (y, weights) = self.inner.additive_attend_forward(
                    q.value(),
                    rows,
                    &below,
                    &held.memory,
                    sources,
                )?;
                let attended = Attended {
                    q: q.clone(),
                    weights,
                    rows: rows.clone(),
                    v: by.clone(),
                    memory: held.clone(),
                    sources: sources.to_vec(),
                };
                Ok(tape.push(Arc::new(y), Record::AdditiveAttend(attended)))
            }
            _ => {
                let (q, memory) = (q.value(), &held.memory);
                let y = self.inner.additive_attend(q, rows, &below, memory, sources, weights)?;
                Ok(Tensor::constant(y))
            }
        }
    }
}
