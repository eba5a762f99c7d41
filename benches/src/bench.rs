//! What can be timed on any backend.

use crate::work::{Counted, Work};
use seq2seq_core::conformance::{Op, Timed};
use seq2seq_core::{Result, train::TrainBackend};

/// One call of an operation with all that it needs; what it gives is dropped, as it is in a model sooner or later.
pub type Call = Box<dyn FnMut() -> Result<()>>;

/// An operation that is timed beside its limit. Those of inference are the suite's ([`Counted`]), those of training are in
/// [`training`](crate::training).
pub trait Bench: 'static {
    /// The operation, by its method name.
    const NAME: &'static str;

    /// One call, as plain data.
    type Case: Clone + 'static;

    /// How many calls one preparation bears before it is another case, where a call changes it.
    fn calls(case: &Self::Case) -> usize {
        let _ = case;
        usize::MAX
    }

    /// The least that a call asks of a machine.
    fn work(case: &Self::Case) -> Work;

    /// All that comes before the call.
    ///
    /// # Errors
    /// Those of the operation.
    fn prepare<B: TrainBackend>(backend: &B, case: &Self::Case) -> Result<Call>;
}

impl<O: Counted + 'static> Bench for O {
    const NAME: &'static str = <O as Timed>::NAME;
    type Case = <O as Op>::Case;

    fn calls(case: &Self::Case) -> usize {
        <O as Timed>::calls(case)
    }

    fn work(case: &Self::Case) -> Work {
        <O as Counted>::work(case)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Self::Case) -> Result<Call> {
        let (mut prepared, backend) = (<O as Timed>::prepare(backend, case)?, backend.clone());
        Ok(Box::new(move || O::call(&backend, &mut prepared).map(drop)))
    }
}
