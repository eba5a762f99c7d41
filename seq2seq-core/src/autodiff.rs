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
