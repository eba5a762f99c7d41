//! Timing one case.

use seq2seq_core::{Result, SeqBackend, conformance::Timed};
use std::time::{Duration, Instant};

/// A cache has room for so many calls ([`Step`](seq2seq_core::conformance::cache::Step)).
const MOST_CALLS: usize = 900;

/// Backends that may still compute when a call has returned.
pub(crate) trait Wait {
    /// Returns when all work is done.
    fn wait(&self) -> Result<()>;
}

/// A case on a backend.
pub(crate) trait Runner {
    /// So many calls, and the seconds of one.
    fn run(&mut self, calls: usize) -> Result<f64>;
}

struct Prepared<O: Timed, B: SeqBackend> {
    backend: B,
    case: O::Prepared<B>,
}

impl<O: Timed, B: SeqBackend + Wait> Runner for Prepared<O, B> {
    fn run(&mut self, calls: usize) -> Result<f64> {
        let begin = Instant::now();
        for _ in 0..calls {
            O::call(&self.backend, &mut self.case)?;
        }
        self.backend.wait()?;
        Ok(begin.elapsed().as_secs_f64() / calls as f64)
    }
}

pub(crate) fn runner<O: Timed + 'static, B: SeqBackend + Wait>(
    backend: &B,
    case: &O::Case,
) -> Result<Box<dyn Runner>> {
    let case = O::prepare(backend, case)?;
    Ok(Box::new(Prepared::<O, B> { backend: backend.clone(), case }))
}

/// The seconds of a call of each runner, one a round; they take turns.
pub(crate) fn rounds(
    runners: &mut [Box<dyn Runner>],
    rounds: usize,
    milliseconds: u64,
) -> Result<Vec<Vec<f64>>> {
    let budget = Duration::from_millis(milliseconds).as_secs_f64();
    let most = (MOST_CALLS / (rounds + 1)).max(1);
    let mut calls = Vec::with_capacity(runners.len());
    for runner in runners.iter_mut() {
        // The first call finds memory and loads kernels.
        runner.run(1)?;
        calls.push(((budget / runner.run(1)?) as usize).clamp(1, most));
    }
    let mut times = vec![Vec::with_capacity(rounds); runners.len()];
    for _ in 0..rounds {
        for ((runner, &calls), times) in runners.iter_mut().zip(&calls).zip(&mut times) {
            times.push(runner.run(calls)?);
        }
    }
    Ok(times)
}
