//! Low-rank adapters (Hu et al. 2021, LoRA): a linear layer computes with W + scale · L R, and L and R are trained.
//!
//! The sum is packed as any weight is, so that a pass costs what it costs without adapters, whatever activation, gate or
//! residual the layer has, and a backend needs nothing new. From G, the gradient of the sum, come those of its factors:
//! dL = scale · G Rᵀ and dR = scale · Lᵀ G. W itself is kept as it is in the master, which tables that are tied to a layer
//! go on reading.
//!
//! Where an adapter drops elements of its input, which W does not, there is no such sum for a whole pass: `dropped.rs`.

mod dropped;

pub(super) use dropped::{Beside, Dropped, wide_weights};

use super::parameters::{Id, Parameters};
use super::{Autodiff, lock};
use crate::train::{
    Gradient, LinearBackward, LinearGradients, MasterPart, Masters, TrainBackend, TrainEpilogue,
};
use crate::{Error, Format, HostTensor, Result};

const OP: &str = "adapt";

/// What is added to a matrix of `[rows, columns]`, in the layout of its checkpoint.
///
/// ```
/// use seq2seq_core::{autodiff::{Autodiff, LowRank}, reference::Reference, *};
///
/// let b = Autodiff::new(Reference);
/// let weight = HostTensor::from_f32(vec![2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])?.named("weight");
/// let layer = b.pack(&LinearSpec::single(weight, None), Format::F32)?;
/// // Of rank 1, five numbers in the place of six. The matrix itself is not to change.
/// b.adapt("weight", &LowRank {
///     left: HostTensor::from_f32(vec![2, 1], &[1.0, 2.0])?.named("weight.lora_B"),
///     right: HostTensor::from_f32(vec![1, 3], &[0.0, 0.0, 0.5])?.named("weight.lora_A"),
///     scale: 2.0,
///     dropout: 0.0,
/// })?;
/// b.parameters().iter_mut().filter(|p| p.name() == "weight").for_each(|p| p.freeze(true));
///
/// let x = b.upload(&HostTensor::from_f32(vec![1, 3], &[1.0, 1.0, 1.0])?)?;
/// let y = b.download(&b.linear(&x, &layer, Epilogue::NONE)?)?;
/// assert_eq!(y, [1.0 + 1.0, 1.0 + 2.0]);
/// // To be saved as a model without adapters, and to be trained on.
/// let weight = || Reference.download(b.parameters().get("weight").unwrap().value());
/// b.merge_adapters(true);
/// assert_eq!(weight()?, [1.0, 0.0, 1.0, 0.0, 1.0, 2.0]);
/// b.merge_adapters(false);
/// assert_eq!(weight()?, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LowRank {
    /// L, `[rows, r]`, under the name of its parameter.
    pub left: HostTensor,
    /// R, `[r, columns]`, under the name of its parameter.
    pub right: HostTensor,
    /// Multiplies their product.
    pub scale: f32,
    /// The rate at which elements of what the change is multiplied with are dropped, in a pass that is trained on with
    /// dropout.
    pub dropout: f32,
}

/// An adapter of a parameter.
pub(super) struct Adapter<T> {
    left: Id,
    right: Id,
    scale: f32,
    dropout: f32,
    /// W + scale · L R; W while the adapter is merged, when the parameter holds the sum.
    other: T,
    merged: bool,
}

impl<B: TrainBackend> Autodiff<B> {
    /// Adds a low-rank change to the matrix `name` wherever it is the weight of a linear layer, not where rows are looked up
    /// in it. L and R become parameters; whether the matrix is trained too is for [`Parameter::freeze`] to say.
    ///
    /// # Errors
    /// For a name that no matrix has or that has an adapter, for sizes that do not fit, and names that are in use.
    ///
    /// [`Parameter::freeze`]: super::Parameter::freeze
    pub fn adapt(&self, name: &str, change: &LowRank) -> Result<()> {
        self.parameters().adapt(&self.inner, name, change)?;
        self.refresh()
    }

    /// Has the masters of all adapted matrices hold the sum, so that a model can be saved without its adapters, or the
    /// matrix without it again, with the bits that it had. Layers compute the same; a table that is tied to one is read with
    /// the change while it is merged. Merged adapters are not trained.
    pub fn merge_adapters(&self, merged: bool) {
        lock(&self.shared.parameters).merge(merged);
    }
}

impl<B: TrainBackend> Parameters<B> {
    fn adapt(&mut self, inner: &B, name: &str, change: &LowRank) -> Result<()> {
        let invalid = |reason: String| Err(Error::invalid(OP, format!("'{name}' {reason}")));
        let Some(id) = self.id(name) else { return invalid("is no parameter".into()) };
        if self.adapters.contains_key(&id) {
            return invalid("has an adapter".into());
        }
        let fits = match (self.shape_of(id), change.left.shape(), change.right.shape()) {
            ([rows, columns], [n, left], [right, m]) => {
                rows == n && columns == m && left == right && *left > 0
            }
            _ => false,
        };
        if !fits {
            let (shape, left, right) =
                (self.shape_of(id), change.left.shape(), change.right.shape());
            return invalid(format!(
                "is {shape:?}; {left:?} and {right:?} do not make a change of it"
            ));
        }
        if !(0.0..1.0).contains(&change.dropout) {
            let reason = format!("drops at a rate of {}; it is from 0 to below 1", change.dropout);
            return Err(Error::invalid(OP, format!("'{name}' {reason}")));
        }
        for factor in [&change.left, &change.right] {
            let taken = factor.name().is_none_or(|name| self.id(name).is_some());
            if taken {
                let reason = format!("the factor {factor:?} needs a name that no parameter has");
                return Err(Error::invalid(OP, reason));
            }
        }
        let left = self.enter(OP, inner, &change.left)?;
        let right = self.enter(OP, inner, &change.right)?;
        let other = self.sum(inner, id, [left, right], change.scale)?;
        let LowRank { scale, dropout, .. } = *change;
        let adapter = Adapter { left, right, scale, dropout, other, merged: false };
        self.adapters.insert(id, adapter);
        Ok(())
    }

    fn merge(&mut self, merged: bool) {
        for (&id, adapter) in &mut self.adapters {
            if adapter.merged != merged {
                std::mem::swap(self.all[id].value_mut(), &mut adapter.other);
                adapter.merged = merged;
            }
        }
    }

    /// W + scale · L R
    fn sum(&self, inner: &B, id: Id, [left, right]: [Id; 2], scale: f32) -> Result<B::Tensor> {
        let factor = factor::<B>(self.value(right), true, scale);
        let layer = inner.pack_masters(&factor, Format::F32)?;
        let residual = Some(self.value(id));
        let epilogue = TrainEpilogue { activation: None, dropout: None, residual };
        Ok(inner.linear_forward(self.value(left), &layer, &epilogue, false)?.0)
    }

    /// Sums anew what has an adapter, after a step.
    pub(super) fn renew_adapted(&mut self, inner: &B) -> Result<()> {
        let ids: Vec<Id> = self.adapters.iter().filter(|(_, a)| !a.merged).map(|a| *a.0).collect();
        for id in ids {
            let Adapter { left, right, scale, .. } = self.adapters[&id];
            let sum = self.sum(inner, id, [left, right], scale)?;
            if let Some(adapter) = self.adapters.get_mut(&id) {
                adapter.other = sum;
            }
        }
        Ok(())
    }

    /// The factors of an adapter that is trained.
    fn factors(&self, id: Id) -> Option<&Adapter<B::Tensor>> {
        let trained = |a: &&Adapter<_>| self.trained(a.left) || self.trained(a.right);
        self.adapters.get(&id).filter(|a| !a.merged).filter(trained)
    }

    /// What a linear layer multiplies with.
    pub(super) fn weight(&self, id: Id) -> &B::Tensor {
        match self.adapters.get(&id) {
            Some(adapter) if !adapter.merged => &adapter.other,
            _ => self.value(id),
        }
    }

    /// Whether what a linear layer multiplies with is trained.
    pub(super) fn weight_trained(&self, id: Id) -> bool {
        self.trained(id) || self.factors(id).is_some()
    }

    /// As [`stale`](Self::stale), for what a linear layer multiplies with.
    pub(super) fn weight_stale(&self, id: Id) -> bool {
        let factors =
            self.adapters.get(&id).is_some_and(|a| self.stale(a.left) || self.stale(a.right));
        self.stale(id) || factors
    }

    /// As [`take`](Self::take), for the weight of a linear layer.
    pub(super) fn take_weight(&mut self, id: Id) -> Option<Gradient<B::Tensor>> {
        match self.factors(id) {
            // Its own, so that it can be handed on.
            Some(_) => Some(None),
            None => self.take(id),
        }
    }

    /// As [`put`](Self::put), for the weight of a linear layer.
    pub(super) fn put_weight(
        &mut self,
        inner: &B,
        id: Id,
        taken: Option<Gradient<B::Tensor>>,
    ) -> Result<()> {
        let Some(&Adapter { left, right, scale, .. }) = self.factors(id) else {
            return self.put(inner, id, taken);
        };
        let Some(gradient) = taken.flatten() else { return Ok(()) };
        // y = scale · x Rᵀ is a linear layer: its result for x = G is dL, its weight's gradient for x = G, dy = L is dR.
        let layer =
            inner.pack_masters(&factor::<B>(self.value(right), false, scale), Format::F32)?;
        let none = TrainEpilogue { activation: None, dropout: None, residual: None };
        let of_left = inner.linear_forward(&gradient, &layer, &none, false)?.0;
        let mut of_right = self.take(right);
        let of = LinearBackward {
            x: &gradient,
            sums: None,
            activation: None,
            dropout: None,
            dy: self.value(left),
        };
        let parts = vec![[of_right.as_mut(), None]];
        inner.linear_backward(&layer, &of, LinearGradients { x: None, parts })?;
        self.put(inner, right, of_right)?;
        if self.trained(left) {
            self.put(inner, left, Some(Some(of_left)))?;
        }
        match self.trained(id) {
            true => self.put(inner, id, Some(Some(gradient))),
            false => Ok(()),
        }
    }

    fn shape_of(&self, id: Id) -> &[usize] {
        self.all[id].shape()
    }
}

fn factor<B: TrainBackend>(
    weight: &B::Tensor,
    transposed: bool,
    scale: f32,
) -> Masters<'_, B::Tensor> {
    let part = MasterPart { weight, bias: None, transposed };
    Masters { parts: vec![part], gated: false, scale }
}

#[cfg(test)]
mod tests;
