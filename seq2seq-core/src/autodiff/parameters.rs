//! Masters, their gradients, and the state of optimisers.

use super::layers::PartIds;
use super::lora::Adapter;
use crate::train::{Adafactor, AdamW, Factors, Gradient, Muon, Second, Sgd, TrainBackend, Wanted};
use crate::{DType, Error, HostTensor, Result, Rows};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A tensor of a checkpoint that is trained.
///
/// ```
/// use seq2seq_core::{autodiff::{Autodiff, Optimiser}, reference::Reference, train::{Sgd, Smoothing}, *};
///
/// let b = Autodiff::new(Reference);
/// let weight = HostTensor::from_f32(vec![2, 2], &[0.5, 0.0, 0.0, 0.5])?.named("weight");
/// let bias = HostTensor::from_f32(vec![2], &[0.0, 0.0])?.named("bias");
/// let layer = b.pack(&LinearSpec::single(weight, Some(bias)), Format::F32)?;
/// // The matrix stays as it is; only the bias is trained. Optimisers would shrink matrices alone.
/// for parameter in b.parameters().iter_mut() {
///     parameter.freeze(parameter.name() == "weight");
///     assert_eq!(parameter.decays(), parameter.shape().len() == 2);
/// }
/// let x = b.upload(&HostTensor::from_f32(vec![1, 2], &[1.0, 1.0])?)?;
/// b.begin(None);
/// b.cross_entropy(&b.linear(&x, &layer, Epilogue::NONE)?, &[Some(0)], Smoothing::None)?;
/// b.backward()?;
/// b.step(&Optimiser::Sgd(Sgd { rate: 1.0, momentum: 0.9, decay: 0.0, gradient_scale: 1.0 }))?;
///
/// let parameters = b.parameters();
/// let [weight, bias] = ["weight", "bias"].map(|name| parameters.get(name).unwrap());
/// assert_eq!(Reference.download(weight.value())?, [0.5, 0.0, 0.0, 0.5]);
/// assert_eq!(Reference.download(bias.value())?, [0.5, -0.5]);
/// // What a checkpoint of the training has to have, for the next step to be the same.
/// assert!(weight.state().is_empty() && bias.state()[0].0 == "velocity");
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Parameter<B: TrainBackend> {
    name: Option<Arc<str>>,
    shape: Vec<usize>,
    value: B::Tensor,
    gradient: Gradient<B::Tensor>,
    state: State<B::Tensor>,
    frozen: bool,
    /// Whether somebody has had it to change it since everything was packed.
    changed: bool,
    decays: bool,
}

/// What an optimiser keeps of a parameter.
#[derive(Debug)]
enum State<T> {
    None,
    AdamW([T; 2]),
    Sgd(Option<T>),
    Adafactor(Second<T>),
    Muon(T),
}

/// One step of an optimiser.
///
/// ```
/// use seq2seq_core::{autodiff::{Autodiff, Optimiser}, reference::Reference, train::{AdamW, Muon, Smoothing}, *};
///
/// let b = Autodiff::new(Reference);
/// let weight = HostTensor::from_f32(vec![2, 2], &[0.5, 0.0, 0.0, 0.5])?.named("weight");
/// let bias = HostTensor::from_f32(vec![2], &[0.0, 0.0])?.named("bias");
/// let layer = b.pack(&LinearSpec::single(weight, Some(bias)), Format::F32)?;
/// let x = b.upload(&HostTensor::from_f32(vec![1, 2], &[1.0, 1.0])?)?;
/// b.begin(None);
/// b.cross_entropy(&b.linear(&x, &layer, Epilogue::NONE)?, &[Some(0)], Smoothing::None)?;
/// b.backward()?;
/// // Muon is for matrices; what else there is learns by AdamW.
/// b.step_each(|parameter| match parameter.shape() {
///     [_, _] => Optimiser::Muon(Muon { rate: 0.02, ..Muon::default() }),
///     _ => Optimiser::AdamW(AdamW { rate: 1e-3, step: 1, ..AdamW::default() }),
/// })?;
/// let parameters = b.parameters();
/// let kept = |name| parameters.get(name).map(|p| p.state().into_iter().map(|(what, _)| what).collect::<Vec<_>>());
/// assert_eq!((kept("weight"), kept("bias")), (Some(vec!["momentum"]), Some(vec!["first", "second"])));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Optimiser {
    AdamW(AdamW),
    Sgd(Sgd),
    Adafactor(Adafactor),
    Muon(Muon),
}

/// Which parameter.
pub(super) type Id = usize;

/// All parameters, in the order in which they were first loaded.
///
/// ```
/// use seq2seq_core::{autodiff::Autodiff, reference::Reference, train::Smoothing, *};
///
/// let b = Autodiff::new(Reference);
/// let weight = HostTensor::from_f32(vec![2, 1], &[0.0, 0.0])?.named("weight");
/// let layer = b.pack(&LinearSpec::single(weight, None), Format::F32)?;
/// let x = b.upload(&HostTensor::from_f32(vec![1, 1], &[1.0])?)?;
/// b.begin(None);
/// b.cross_entropy(&b.linear(&x, &layer, Epilogue::NONE)?, &[Some(0)], Smoothing::None)?;
/// b.backward()?;
///
/// let mut parameters = b.parameters();
/// let names: Vec<&str> = parameters.iter().map(|p| p.name()).collect();
/// assert_eq!(names, ["weight"]);
/// // Half of -1, and half of 1: a norm of 1/√2, which one may clip.
/// let norm = parameters.gradient_norm(b.inner())?;
/// assert!((norm - 0.5f64.sqrt()).abs() < 1e-6);
/// parameters.clear_gradients();
/// assert_eq!(parameters.gradient_norm(b.inner())?, 0.0);
/// # Ok::<(), Error>(())
/// ```
pub struct Parameters<B: TrainBackend> {
    pub(super) all: Vec<Parameter<B>>,
    by_name: HashMap<Arc<str>, Id>,
    /// Of matrices that have one.
    pub(super) adapters: BTreeMap<Id, Adapter<B::Tensor>>,
}

impl<B: TrainBackend> Default for Parameters<B> {
    fn default() -> Self {
        Self { all: Vec::new(), by_name: HashMap::new(), adapters: BTreeMap::new() }
    }
}

/// Something that is packed from parameters.
pub(super) trait Packed<B: TrainBackend>: Send + Sync {
    /// Packs it again.
    fn refresh(&self, inner: &B, parameters: &Parameters<B>) -> Result<()>;
}

impl<B: TrainBackend> Parameter<B> {
    /// The name of the tensor in its checkpoint.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The sizes that its checkpoint has.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The master: `[rows, columns]`, a vector as one row.
    pub fn value(&self) -> &B::Tensor {
        &self.value
    }

    /// The master, to be changed; [`Autodiff::refresh`](super::Autodiff::refresh) must follow.
    pub fn value_mut(&mut self) -> &mut B::Tensor {
        self.changed = true;
        &mut self.value
    }

    /// The sum of gradients since the last step, of the master's shape. `None` is zero.
    pub fn gradient(&self) -> Option<&B::Tensor> {
        self.gradient.as_ref()
    }

    /// Whether it has no gradient and does not change.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Keeps it as it is, or no longer.
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
        if frozen {
            self.gradient = None;
        }
    }

    /// Whether optimisers shrink it: at first, whether it is a matrix.
    pub fn decays(&self) -> bool {
        self.decays
    }

    /// Has optimisers shrink it or not.
    pub fn set_decays(&mut self, decays: bool) {
        self.decays = decays;
    }

    /// One step; the gradient is gone.
    fn step(&mut self, inner: &B, optimiser: &Optimiser) -> Result<()> {
        let Some(gradient) = self.gradient.take() else { return Ok(()) };
        let [rows, columns] = [self.value.rows(), self.value.width()];
        let decay = |decay| if self.decays { decay } else { 0.0 };
        match optimiser {
            Optimiser::AdamW(settings) => {
                if !matches!(self.state, State::AdamW(_)) {
                    self.state =
                        State::AdamW([inner.zeros(rows, columns)?, inner.zeros(rows, columns)?]);
                }
                let State::AdamW(moments) = &mut self.state else { return Ok(()) };
                let settings = AdamW { decay: decay(settings.decay), ..*settings };
                inner.adamw(&settings, &mut self.value, &gradient, moments)
            }
            Optimiser::Sgd(settings) => {
                if !matches!(self.state, State::Sgd(_)) {
                    self.state = State::Sgd(None);
                }
                let State::Sgd(velocity) = &mut self.state else { return Ok(()) };
                let settings = Sgd { decay: decay(settings.decay), ..*settings };
                inner.sgd(&settings, &mut self.value, &gradient, velocity)
            }
            Optimiser::Adafactor(settings) => {
                if !matches!(self.state, State::Adafactor(_)) {
                    self.state = State::Adafactor(match self.shape.len() {
                        0 | 1 => Second::Full(inner.zeros(rows, columns)?),
                        _ => Second::Factored(Factors {
                            rows: inner.zeros(1, rows)?,
                            columns: inner.zeros(1, columns)?,
                        }),
                    });
                }
                let State::Adafactor(second) = &mut self.state else { return Ok(()) };
                let settings = Adafactor { decay: decay(settings.decay), ..*settings };
                inner.adafactor(&settings, &mut self.value, &gradient, second)
            }
            Optimiser::Muon(settings) => {
                if self.shape.len() < 2 {
                    let reason = format!("'{}' is no matrix; step it by AdamW", self.name());
                    return Err(Error::invalid("muon", reason));
                }
                if !matches!(self.state, State::Muon(_)) {
                    self.state = State::Muon(inner.zeros(rows, columns)?);
                }
                let State::Muon(momentum) = &mut self.state else { return Ok(()) };
                let settings = Muon { decay: decay(settings.decay), ..*settings };
                inner.muon(&settings, &mut self.value, &gradient, momentum)
            }
        }
    }

    /// The state of its optimiser, for a checkpoint of a training: each tensor with a name of its own.
    pub fn state(&self) -> Vec<(&'static str, &B::Tensor)> {
        match &self.state {
            State::None | State::Sgd(None) => Vec::new(),
            State::AdamW([first, second]) => vec![("first", first), ("second", second)],
            State::Sgd(Some(velocity)) => vec![("velocity", velocity)],
            State::Adafactor(Second::Full(second)) => vec![("second", second)],
            State::Adafactor(Second::Factored(f)) => {
                vec![("rows", &f.rows), ("columns", &f.columns)]
            }
            State::Muon(momentum) => vec![("momentum", momentum)],
        }
    }

    /// Takes back what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// For tensors that no optimiser keeps.
    pub fn restore(&mut self, state: Vec<(String, B::Tensor)>) -> Result<()> {
        let mut names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let found = names.join(", ");
        let mut tensors: HashMap<String, B::Tensor> = state.into_iter().collect();
        let mut take = |name: &str| tensors.remove(name);
        self.state = match found.as_str() {
            "" => State::None,
            "first, second" => match (take("first"), take("second")) {
                (Some(first), Some(second)) => State::AdamW([first, second]),
                _ => State::None,
            },
            "velocity" => State::Sgd(take("velocity")),
            "momentum" => take("momentum").map_or(State::None, State::Muon),
            "second" => take("second").map_or(State::None, |s| State::Adafactor(Second::Full(s))),
            "columns, rows" => match (take("rows"), take("columns")) {
                (Some(rows), Some(columns)) => {
                    State::Adafactor(Second::Factored(Factors { rows, columns }))
                }
                _ => State::None,
            },
            _ => {
                let reason = format!("'{}': no optimiser keeps {found}", self.name());
                return Err(Error::invalid("restore", reason));
            }
        };
        Ok(())
    }
}

impl<B: TrainBackend> Parameters<B> {
    /// Those that have a name.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter<B>> {
        self.all.iter().filter(|p| p.name.is_some())
    }

    /// Those that have a name.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Parameter<B>> {
        self.all.iter_mut().filter(|p| p.name.is_some())
    }

    /// The parameter of this name.
    pub fn get(&self, name: &str) -> Option<&Parameter<B>> {
        self.id(name).map(|id| &self.all[id])
    }

    pub(super) fn id(&self, name: &str) -> Option<Id> {
        self.by_name.get(name).copied()
    }

    /// The root of the sum of the squares of all gradients; NaN or infinite where one of them is.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn gradient_norm(&self, inner: &B) -> Result<f64> {
        let gradients: Vec<_> = self.all.iter().filter_map(Parameter::gradient).collect();
        Ok(inner.sums_of_squares(&gradients)?.iter().sum::<f64>().sqrt())
    }

    /// Drops all gradients.
    pub fn clear_gradients(&mut self) {
        self.all.iter_mut().for_each(|p| p.gradient = None);
    }

    pub(super) fn step(
        &mut self,
        inner: &B,
        mut optimiser: impl FnMut(&Parameter<B>) -> Optimiser,
    ) -> Result<()> {
        self.all.iter_mut().filter(|p| p.gradient.is_some()).try_for_each(|p| {
            let optimiser = optimiser(p);
            p.step(inner, &optimiser)
        })
    }

    /// The parameter of a tensor; one without a name is a constant of its own.
    pub(super) fn enter(&mut self, op: &'static str, inner: &B, tensor: &HostTensor) -> Result<Id> {
        if tensor.quantisation().is_some()
            || !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16)
        {
            let reason = format!("{tensor:?} is quantised; train from floating-point weights");
            return Err(Error::invalid(op, reason));
        }
        if let Some(&id) = tensor.name().and_then(|name| self.by_name.get(name)) {
            let held = &self.all[id];
            if held.shape != tensor.shape() {
                let (name, first, second) = (held.name(), &held.shape, tensor.shape());
                let reason = format!("'{name}' is {first:?} in one place, {second:?} in another");
                return Err(Error::invalid(op, reason));
            }
            return Ok(id);
        }
        let [rows, columns] = match *tensor.shape() {
            [n] => [1, n],
            [rows, columns] => [rows, columns],
            _ => return Err(Error::invalid(op, format!("{tensor:?} is no vector and no matrix"))),
        };
        let flat = tensor.reshape(vec![rows, columns])?;
        let id = self.all.len();
        self.all.push(Parameter {
            name: tensor.name().cloned(),
            shape: tensor.shape().to_vec(),
            value: inner.upload(&flat)?,
            gradient: None,
            state: State::None,
            frozen: tensor.name().is_none(),
            changed: false,
            decays: tensor.shape().len() > 1,
        });
        if let Some(name) = tensor.name() {
            self.by_name.insert(name.clone(), id);
        }
        Ok(id)
    }

    pub(super) fn value(&self, id: Id) -> &B::Tensor {
        &self.all[id].value
    }

    pub(super) fn trained(&self, id: Id) -> bool {
        !self.all[id].frozen
    }

    /// Whether it may be another than when it was packed from: one that is trained, or that somebody has changed.
    pub(super) fn stale(&self, id: Id) -> bool {
        self.trained(id) || self.all[id].changed
    }

    /// Everything has been packed from what parameters are now.
    pub(super) fn packed(&mut self) {
        self.all.iter_mut().for_each(|p| p.changed = false);
    }

    /// The gradient to be added to, where it is wanted; [`put`](Self::put) brings it back.
    pub(super) fn take(&mut self, id: Id) -> Option<Gradient<B::Tensor>> {
        let parameter = &mut self.all[id];
        (!parameter.frozen).then(|| parameter.gradient.take())
    }

    /// Brings back what was taken.
    pub(super) fn put(
        &mut self,
        inner: &B,
        id: Id,
        taken: Option<Gradient<B::Tensor>>,
    ) -> Result<()> {
        match taken.flatten() {
            // A tensor that is two parts of one layer was taken twice.
            Some(gradient) => inner.add(gradient, &mut self.all[id].gradient),
            None => Ok(()),
        }
    }
}

/// The gradients of weight and bias of some parts.
pub(super) struct Taken<'a, B: TrainBackend> {
    parts: &'a [PartIds],
    gradients: Vec<[Option<Gradient<B::Tensor>>; 2]>,
}

impl<'a, B: TrainBackend> Taken<'a, B> {
    pub(super) fn of(parameters: &mut Parameters<B>, parts: &'a [PartIds]) -> Self {
        let take = |part: &PartIds| {
            let weight = match part.beside {
                None => parameters.take_weight(part.weight),
                // Its own, to be taken apart.
                Some(_) => parameters.weight_trained(part.weight).then_some(None),
            };
            [weight, part.bias.and_then(|id| parameters.take(id))]
        };
        Self { gradients: parts.iter().map(take).collect(), parts }
    }

    /// Whether any is wanted.
    pub(super) fn any(&self) -> bool {
        self.gradients.iter().flatten().any(Option::is_some)
    }

    pub(super) fn wanted(&mut self) -> Vec<[Wanted<'_, B::Tensor>; 2]> {
        self.gradients.iter_mut().map(|g| g.each_mut().map(Option::as_mut)).collect()
    }

    pub(super) fn put(self, inner: &B, parameters: &mut Parameters<B>) -> Result<()> {
        for (part, [weight, bias]) in self.parts.iter().zip(self.gradients) {
            match part.beside {
                None => parameters.put_weight(inner, part.weight, weight)?,
                Some(beside) => parameters.put_wide(inner, part, beside, weight)?,
            }
            part.bias.map_or(Ok(()), |id| parameters.put(inner, id, bias))?;
        }
        Ok(())
    }
}
