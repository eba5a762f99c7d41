//! Timing one case.

use crate::bench::{Bench, Call};
use seq2seq_core::{Result, train::TrainBackend};
use std::thread;
use std::time::{Duration, Instant};

/// Between the turns of two devices. Threads of OpenMP, which libtorch computes with, spin for 10 ms when their work is done, on
/// the core that the next device needs: without a pause, products of 128 rows on the CPU backend took 1.2 to 1.7 times as long.
const PAUSE: Duration = Duration::from_millis(30);

/// Backends that may still compute when a call has returned.
pub trait Wait {
    /// Returns when all work is done.
    ///
    /// # Errors
    /// Those of the work.
    fn wait(&self) -> Result<()>;
}

/// A case on a backend.
pub trait Runner {
    /// The time of so many calls, one after another. What has to be prepared anew between them is not counted.
    ///
    /// # Errors
    /// Those of the operation.
    fn run(&mut self, calls: usize) -> Result<Duration>;
}

struct Prepared<O: Bench, B> {
    backend: B,
    case: O::Case,
    call: Call,
    /// Calls that `call` still bears.
    left: usize,
}

impl<O: Bench, B: TrainBackend + Wait> Runner for Prepared<O, B> {
    fn run(&mut self, calls: usize) -> Result<Duration> {
        let (mut time, mut calls) = (Duration::ZERO, calls);
        while calls > 0 {
            if self.left == 0 {
                self.call = O::prepare(&self.backend, &self.case)?;
                self.backend.wait()?;
                self.left = O::calls(&self.case);
            }
            let now = calls.min(self.left);
            let begin = Instant::now();
            for _ in 0..now {
                (self.call)()?;
            }
            self.backend.wait()?;
            time += begin.elapsed();
            (calls, self.left) = (calls - now, self.left - now);
        }
        Ok(time)
    }
}

pub(crate) fn runner<O: Bench, B: TrainBackend + Wait>(
    backend: &B,
    case: &O::Case,
) -> Result<Box<dyn Runner>> {
    let call = O::prepare(backend, case)?;
    let (backend, case, left) = (backend.clone(), case.clone(), O::calls(case));
    Ok(Box::new(Prepared::<O, B> { backend, case, call, left }))
}

/// The seconds of a call of each runner, one a round; they take turns, with a pause between them.
///
/// # Errors
/// Those of the operation.
pub fn rounds(
    runners: &mut [Box<dyn Runner>],
    rounds: usize,
    milliseconds: u64,
) -> Result<Vec<Vec<f64>>> {
    let budget = Duration::from_millis(milliseconds).as_secs_f64();
    let mut calls = Vec::with_capacity(runners.len());
    for runner in runners.iter_mut() {
        // The first call finds memory and loads kernels.
        runner.run(1)?;
        let seconds = runner.run(1)?.as_secs_f64();
        calls.push(((budget / seconds.max(1e-9)) as usize).max(1));
    }
    let mut times = vec![Vec::with_capacity(rounds); runners.len()];
    let alternate = runners.len() > 1;
    for _ in 0..rounds {
        for ((runner, &calls), times) in runners.iter_mut().zip(&calls).zip(&mut times) {
            if alternate {
                thread::sleep(PAUSE);
            }
            times.push(runner.run(calls)?.as_secs_f64() / calls as f64);
        }
    }
    Ok(times)
}
