//! Gradients of whole models: a backend over a backend, which notes what is computed and walks it back.
//!
//! [`Autodiff`] implements the traits that models are written over. A model that is loaded through it has the checkpoint's
//! tensors as [`Parameter`]s, f32 masters under their names, from which its layers are packed. Between
//! [`begin`](Autodiff::begin) and [`backward`](Autodiff::backward) every operation adds a record to a tape; otherwise
//! operations pass to the backend below, so that a model under training also generates.
//!
//! ```
//! use seq2seq_core::{autodiff::Autodiff, reference::Reference, train::Smoothing, *};
//!
//! let b = Autodiff::new(Reference);
//! let weight = HostTensor::from_f32(vec![2, 3], &[0.5, -1.0, 0.25, 1.0, 0.0, -0.5])?.named("out.weight");
//! let layer = b.pack(&LinearSpec::single(weight, None), Format::F32)?;
//! b.begin(None);
//! let x = b.upload(&HostTensor::from_f32(vec![1, 3], &[1.0, 2.0, 3.0])?)?;
//! let logits = b.linear(&x, &layer, Epilogue::NONE)?;
//! let loss = b.cross_entropy(&logits, &[Some(1)], Smoothing::None)?;
//! b.backward()?;
//! assert_eq!(loss.tokens, 1);
//! let gradient = b.parameters().iter().next().and_then(|p| p.gradient()).map(|g| Reference.download(g));
//! assert_eq!(gradient.transpose()?.map(|g| g.len()), Some(6));
//! # Ok::<(), seq2seq_core::Error>(())
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `tape.rs`, `tape/` | the records and how each is walked back, or computed again first (`checkpoint.rs`) |
//! | `parameters.rs` | masters, gradients, steps of optimisers |
//! | `layers.rs` | what is packed from masters |
//! | `lora.rs` | low-rank adapters of masters |
//! | `ops.rs`, `recurrent.rs` | the traits |
//! | `posterior.rs` | the latent of a variational autoencoder |
//!
//! # What a model holds
//!
//! Models are written over the traits and never name these types: `B::Linear` of an `Autodiff<R>` is [`Linear<R>`](Linear), the layer
//! of the backend below and the parameters that it is packed from.
//!
//! ```
//! use seq2seq_core::autodiff::{Autodiff, Embedding, Linear, Memory, Norm, RelativeBias};
//! use seq2seq_core::{reference::Reference, train::Smoothing, *};
//!
//! let b = Autodiff::new(Reference);
//! let values = |n: usize| (0..n).map(|i| (i * 7 % 11) as f32 / 10.0 - 0.5).collect::<Vec<f32>>();
//! let host = |name: &str, shape: Vec<usize>| {
//!     let values = values(shape.iter().product());
//!     Ok::<_, Error>(HostTensor::from_f32(shape, &values)?.named(name))
//! };
//! let single = |name: &str, shape| b.pack(&LinearSpec::single(host(name, shape)?, None), Format::F32);
//!
//! let table: Embedding = b.embedding(&host("embed", vec![5, 4])?)?;
//! let norm = NormSpec { kind: NormKind::Rms, eps: 1e-6, weight: host("norm", vec![4])?, bias: None };
//! let norm: Norm<Reference> = b.norm_weights(&norm)?;
//! let [qkv, kv]: [Linear<Reference>; 2] = [single("qkv", vec![12, 4])?, single("kv", vec![8, 4])?];
//! let head = b.pack(&LinearSpec::single(host("embed", vec![5, 4])?, None), Format::F32)?; // tied to the table
//! let buckets = BucketSpec { buckets: 8, max_distance: 16, bidirectional: true };
//! let bias: RelativeBias<Reference> = b.relative_bias(&host("bias", vec![8, 2])?, buckets)?;
//!
//! let spec = AttentionSpec {
//!     heads: 2, kv_heads: 2, head_dim: 2, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
//!     precision: Precision::F32,
//! };
//! let rows = Ragged::from_lengths([3]);
//! b.begin(None);
//! let x = b.embed(&[Lookup { table: &table, ids: &[0, 3, 1], scale: 1.0 }])?;
//! let x = b.attend(&b.linear(&b.norm(&x, &norm)?, &qkv, Epilogue::NONE)?, &rows, &spec, Some(&bias))?;
//! let memory: Memory<Reference> = b.memory(&b.linear(&x, &kv, Epilogue::NONE)?, &rows, &spec)?;
//! let x = b.cross_attend(&x, &rows, &memory, &[0], &spec, None)?;
//! b.cross_entropy(&b.linear(&x, &head, Epilogue::NONE)?, &[Some(1), None, Some(4)], Smoothing::None)?;
//! b.backward()?;
//!
//! // Five tensors of a checkpoint, of which one is in two places, each with a gradient.
//! let parameters = b.parameters();
//! assert!(parameters.iter().map(|p| p.name()).eq(["embed", "norm", "qkv", "kv", "bias"]));
//! assert!(parameters.iter().all(|p| p.gradient().is_some()));
//! # Ok::<(), Error>(())
//! ```
//!
//! # What a recurrent model holds
//!
//! ```
//! use seq2seq_core::{autodiff::{Additive, AdditiveMemory, Autodiff, Recurrent}, reference::Reference, *};
//!
//! let b = Autodiff::new(Reference);
//! let host = |name: &str, shape, values: &[f32]| Ok::<_, Error>(HostTensor::from_f32(shape, values)?.named(name));
//! let part = LinearPart { weight: host("weight_hh", vec![3, 1], &[0.5, 0.25, 1.0])?, bias: None, transposed: false };
//! let spec = RecurrentSpec { cell: Cell::Gru, directions: vec![part] };
//! let layer: Recurrent<Reference> = b.recurrent(&spec, Format::F32)?;
//! let v: Additive<Reference> = b.additive(&host("v", vec![1], &[2.0])?)?;
//!
//! b.begin(None);
//! let rows = Ragged::from_lengths([2]);
//! let x = b.upload(&HostTensor::from_f32(vec![2, 3], &[0.1, 0.2, 0.3, -0.3, 0.2, 0.1])?)?;
//! let (memory, state) = b.recur(&x, &rows, &layer, None)?;
//! let keys: AdditiveMemory<Reference> = b.additive_memory(&memory, &memory, &rows)?;
//! let context = b.additive_attend(&state, &Ragged::single_rows(1), &v, &keys, &[0], None)?;
//! // The loss is the context itself: its gradient is 1.
//! b.seed(&context, Reference.upload(&HostTensor::from_f32(vec![1, 1], &[1.0])?)?)?;
//! b.backward()?;
//! assert!(["weight_hh", "v"].iter().all(|name| b.parameters().get(name).is_some_and(|p| p.gradient().is_some())));
//! # Ok::<(), Error>(())
//! ```

mod convolution;
mod layers;
mod lora;
mod ops;
mod parameters;
mod posterior;
mod recurrent;
mod tape;
#[cfg(test)]
mod tests;

pub use layers::{
    Additive, AdditiveMemory, Embedding, Linear, Memory, Norm, Recurrent, RelativeBias,
};
pub use lora::LowRank;
pub use parameters::{Optimiser, Parameter, Parameters};
pub use tape::Tensor;

use crate::train::{Dropout, Loss, Smoothing, TrainBackend};
use crate::{Error, Result};
use parameters::Packed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tape::Tape;

/// A backend that is trained on. Cloning shares parameters and tape: one pass at a time.
///
/// ```
/// use seq2seq_core::{autodiff::{Autodiff, Optimiser}, reference::Reference, train::{AdamW, Smoothing}, *};
///
/// let b = Autodiff::new(Reference);
/// let weight = HostTensor::from_f32(vec![3, 2], &[0.0; 6])?.named("head.weight");
/// let head = b.pack(&LinearSpec::single(weight, None), Format::F32)?;
/// let x = b.upload(&HostTensor::from_f32(vec![2, 2], &[1.0, 0.0, 0.0, 1.0])?)?;
/// let (mut first, mut last) = (0.0, 0.0);
/// for step in 1..=30 {
///     b.begin(Some((42, step))); // with dropout, at the rates that the model gives
///     let logits = b.linear(&b.dropout(x.clone(), 0.1)?, &head, Epilogue::NONE)?;
///     let loss = b.cross_entropy(&logits, &[Some(2), Some(0)], Smoothing::None)?;
///     b.backward()?;
///     let gradient_scale = 1.0 / loss.tokens as f32;
///     b.step(&Optimiser::AdamW(AdamW { rate: 0.2, step, gradient_scale, ..AdamW::default() }))?;
///     (first, last) = (if step == 1 { loss.sum } else { first }, loss.sum);
/// }
/// assert!(last < 0.2 * first, "{first} {last}");
///
/// // Outside of a pass that is recorded it is the backend below, with what has been learned.
/// assert!(!b.is_recording());
/// let logits = b.linear(&x, &head, Epilogue::NONE)?;
/// assert_eq!(b.top_k(&logits, 1, ScoreOrder::RulesThenNormalise, &[])?.ids, [2, 0]);
/// # Ok::<(), Error>(())
/// ```
pub struct Autodiff<B: TrainBackend> {
    inner: B,
    shared: Arc<Shared<B>>,
}

struct Shared<B: TrainBackend> {
    parameters: Mutex<Parameters<B>>,
    tape: Mutex<Tape<B>>,
    /// What is to be packed again when parameters have changed.
    packed: Mutex<Vec<Weak<dyn Packed<B>>>>,
}

impl<B: TrainBackend> Clone for Autodiff<B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone() }
    }
}

/// A lock that a panic elsewhere does not poison: what it guards is whole between operations.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: TrainBackend> Autodiff<B> {
    /// Over `inner`, without parameters yet.
    pub fn new(inner: B) -> Self {
        let shared = Shared {
            parameters: Mutex::new(Parameters::default()),
            tape: Mutex::new(Tape::default()),
            packed: Mutex::default(),
        };
        Self { inner, shared: Arc::new(shared) }
    }

    /// The backend below.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// The parameters of everything that was loaded. They are locked while the guard lives: operations wait for it.
    pub fn parameters(&self) -> MutexGuard<'_, Parameters<B>> {
        lock(&self.shared.parameters)
    }

    /// Begins a pass that is recorded. What an earlier one left behind is forgotten.
    ///
    /// With a seed of the training and the number of the pass, which no other pass has, elements are dropped at the rates
    /// that operations are given; without, none are.
    pub fn begin(&self, dropout: Option<(u64, u32)>) {
        let dropout = dropout.map(|(seed, step)| Dropout { rate: 0.0, seed, step, place: 0 });
        *lock(&self.shared.tape) = Tape::recording(dropout);
    }

    /// Has the pass that has begun keep only what each layer reads, and compute the layer again on the way back: gradient
    /// checkpointing, for less memory and one more forward. The gradients have the same bits. Layers are told by
    /// [`observe`](crate::Backend::observe); one that is no transformer's is an error there.
    pub fn checkpoint(&self) {
        lock(&self.shared.tape).checkpoint();
    }

    /// Forgets what was recorded, and records no more.
    pub fn stop(&self) {
        *lock(&self.shared.tape) = Tape::default();
    }

    /// Whether operations are recorded.
    pub fn is_recording(&self) -> bool {
        lock(&self.shared.tape).is_recording()
    }

    /// The cross-entropy of `[N, V]` logits ([`TrainBackend::cross_entropy`]). While recording, its gradient is where
    /// [`backward`](Self::backward) starts; several losses add up.
    ///
    /// # Errors
    /// As [`TrainBackend::cross_entropy`].
    pub fn cross_entropy(
        &self,
        logits: &Tensor<B>,
        targets: &[Option<u32>],
        smoothing: Smoothing,
    ) -> Result<Loss> {
        let (loss, gradient) = self.inner.cross_entropy(logits.value(), targets, smoothing)?;
        self.seed(logits, gradient)?;
        Ok(loss)
    }

    /// Adds to the gradient of `y` from which [`backward`](Self::backward) starts; nothing where `y` depends on no
    /// parameter.
    ///
    /// # Errors
    /// Where the shapes differ, and for a tensor of another pass.
    pub fn seed(&self, y: &Tensor<B>, gradient: B::Tensor) -> Result<()> {
        lock(&self.shared.tape).seed(&self.inner, y, gradient)
    }

    /// Walks the tape back from what was seeded and adds to the gradients of the parameters. Recording ends.
    ///
    /// # Errors
    /// Where nothing is recorded, and those of the backwards.
    pub fn backward(&self) -> Result<()> {
        let tape = std::mem::take(&mut *lock(&self.shared.tape));
        if !tape.is_recording() {
            return Err(Error::invalid(
                "backward",
                "nothing is recorded; call begin before the pass",
            ));
        }
        tape.backward(&self.inner, &mut self.parameters())
    }

    /// Changes each parameter that has a gradient and is not frozen by one step of `optimiser`, drops the gradients, and
    /// packs anew what is made of parameters.
    ///
    /// # Errors
    /// Those of the steps, and of packing: an update may have made a weight infinite.
    pub fn step(&self, optimiser: &Optimiser) -> Result<()> {
        self.step_each(|_| *optimiser)
    }

    /// As [`step`](Self::step), each parameter by the optimiser that is chosen for it; one for all steps, as it keeps a
    /// state of its own.
    ///
    /// # Errors
    /// As [`step`](Self::step), and for [`Optimiser::Muon`] on what is no matrix.
    pub fn step_each(&self, choose: impl FnMut(&Parameter<B>) -> Optimiser) -> Result<()> {
        self.parameters().step(&self.inner, choose)?;
        self.refresh()
    }

    /// Packs anew what is made of parameters, which somebody has changed.
    ///
    /// # Errors
    /// Those of packing.
    pub fn refresh(&self) -> Result<()> {
        let mut parameters = self.parameters();
        parameters.renew_adapted(&self.inner)?;
        let mut packed = lock(&self.shared.packed);
        packed.retain(|item| item.strong_count() > 0);
        packed
            .iter()
            .filter_map(Weak::upgrade)
            .try_for_each(|item| item.refresh(&self.inner, &parameters))?;
        parameters.packed();
        Ok(())
    }

    /// Keeps an eye on something that is packed from parameters.
    fn watch<P: Packed<B> + 'static>(&self, item: P) -> Arc<P> {
        let item = Arc::new(item);
        let watched: Weak<P> = Arc::downgrade(&item);
        lock(&self.shared.packed).push(watched);
        item
    }
}
