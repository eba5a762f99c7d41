//! What a call made on the device and the next one can use, where it is alike.

use crate::Cuda;
use crate::kernels::attention_back_plan;
use crate::ops::attention;
use seq2seq_core::Result;
use std::any::Any;
use std::sync::{Arc, Mutex};

/// What the last call made.
pub(crate) struct Kept<T>(Mutex<Option<Arc<T>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Any + Send + Sync> Kept<T> {
    /// What the last call made where that `suits`; else it is made, and kept in its place. What a step has listed to make it is asked
    /// for first, as the next call may be another thread's.
    pub(crate) fn get(
        &self,
        cuda: &Cuda,
        suits: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        // It stays what it is whatever happened while it was held.
        let mut last = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let value = match last.as_ref().filter(|value| suits(value)) {
            Some(value) => Arc::clone(value),
            None => {
                let listed = cuda.queue().listed();
                let made = make()?;
                if cuda.queue().listed() != listed {
                    cuda.pool().submit()?;
                }
                Arc::clone(last.insert(Arc::new(made)))
            }
        };
        // Another thread that asks for something else drops it.
        cuda.queue().keep(&value);
        Ok(value)
    }
}

/// What a device keeps of attention, which one layer after another asks for: within whole sequences, and back from there and from
/// a memory.
#[derive(Default)]
pub(crate) struct KeptPlans {
    pub(crate) layout: Kept<attention::Layout>,
    pub(crate) plan: Kept<attention::Plan>,
    pub(crate) back_within: Kept<attention_back_plan::Plan>,
    pub(crate) back_across: Kept<attention_back_plan::Plan>,
}
