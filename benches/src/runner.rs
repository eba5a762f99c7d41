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

/// What some calls, one after another, took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Took {
    /// Until the device was done with all of them.
    pub all: Duration,
    /// Until the host had asked for all of them. Where this is near to the other, the host was what the calls waited for.
    pub asking: Duration,
}

/// A case on a backend.
pub trait Runner {
    /// So many calls. What has to be prepared anew between them is not counted.
    ///
    /// # Errors
    /// Those of the operation.
    fn run(&mut self, calls: usize) -> Result<Took>;

    /// So many steps ([`Backend::step`](seq2seq_core::Backend::step)) of so many calls each, all of them alike: a GPU replays them
    /// as a graph, in which the host has no part. The first two make it, and are not counted.
    ///
    /// # Errors
    /// Those of the operation.
    fn replay(&mut self, steps: usize, calls: usize) -> Result<Duration>;
}

struct Prepared<O: Bench, B> {
    backend: B,
    case: O::Case,
    call: Call,
    /// Calls that `call` still bears.
    left: usize,
}

impl<O: Bench, B: TrainBackend + Wait> Prepared<O, B> {
    fn steps(&mut self, steps: usize, calls: usize) -> Result<Duration> {
        let Self { backend, call, .. } = self;
        let begin = Instant::now();
        for _ in 0..steps {
            backend.step(|| (0..calls).try_for_each(|_| call()))?;
        }
        backend.wait()?;
        Ok(begin.elapsed())
    }
}

impl<O: Bench, B: TrainBackend + Wait> Runner for Prepared<O, B> {
    fn run(&mut self, calls: usize) -> Result<Took> {
        let (mut took, mut calls) = (Took::default(), calls);
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
            took.asking += begin.elapsed();
            self.backend.wait()?;
            took.all += begin.elapsed();
            (calls, self.left) = (calls - now, self.left - now);
        }
        Ok(took)
    }

    fn replay(&mut self, steps: usize, calls: usize) -> Result<Duration> {
        self.steps(2, calls)?;
        self.steps(steps, calls)
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

/// The times of one runner.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    /// Of a call, one a round.
    pub seconds: Vec<f64>,
    /// What part of them the host took to ask.
    pub asking: Vec<f64>,
    /// Of a call among others in a step that is replayed, where that was asked for.
    pub replayed: Vec<f64>,
    /// Why it was not, where it was asked for: the other times stand.
    pub not_replayed: Option<String>,
}

/// How long runners are timed.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// In each of which every runner has its turn.
    pub count: usize,
    /// Of a turn.
    pub milliseconds: u64,
    /// Whether each turn is followed by one of steps that are replayed.
    pub replay: bool,
}

/// Most calls of a step that is replayed, and how long it is to be about: a graph of many nodes takes long to be made.
const STEP: (usize, f64) = (20, 500e-6);

/// The times of each runner; they take turns, with a pause between them.
///
/// # Errors
/// Those of the operation.
pub fn time(runners: &mut [Box<dyn Runner>], rounds: Rounds) -> Result<Vec<Times>> {
    let budget = Duration::from_millis(rounds.milliseconds).as_secs_f64();
    let mut calls = Vec::with_capacity(runners.len());
    for runner in runners.iter_mut() {
        // The first call finds memory and loads kernels. A single one takes the time to ask for it, too: several tell more.
        runner.run(1)?;
        let one = runner.run(1)?.all.as_secs_f64();
        let some = ((budget / 4.0 / one.max(1e-9)) as usize).clamp(1, 16);
        let seconds = runner.run(some)?.all.as_secs_f64() / some as f64;
        calls.push((((budget / seconds.max(1e-9)) as usize).max(1), seconds));
    }
    let mut times = vec![Times::default(); runners.len()];
    let alternate = runners.len() > 1;
    for _ in 0..rounds.count {
        for ((runner, &(calls, seconds)), times) in runners.iter_mut().zip(&calls).zip(&mut times) {
            if alternate {
                thread::sleep(PAUSE);
            }
            let took = runner.run(calls)?;
            times.seconds.push(took.all.as_secs_f64() / calls as f64);
            times.asking.push(took.asking.as_secs_f64() / calls as f64);
            if rounds.replay && times.not_replayed.is_none() {
                let in_step = ((STEP.1 / seconds.max(1e-9)) as usize).clamp(1, STEP.0);
                let steps = calls.div_ceil(in_step);
                match runner.replay(steps, in_step) {
                    Ok(took) => {
                        times.replayed.push(took.as_secs_f64() / (steps * in_step) as f64);
                    }
                    Err(error) => times.not_replayed = Some(error.to_string()),
                }
            }
        }
    }
    Ok(times)
}
