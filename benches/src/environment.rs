//! The parameters of the benches that Criterion runs, whose command line is Criterion's: variables of the environment.

use std::thread::available_parallelism;

/// What is set, and not to nothing.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Threads on the processor: `SEQ2SEQ_BENCH_THREADS`, or one for each core.
///
/// # Panics
/// Where the variable is no number from 1.
pub fn threads() -> usize {
    let given = variable("SEQ2SEQ_BENCH_THREADS").map(|n| {
        let n = n.parse().ok().filter(|&n| n > 0);
        n.expect("SEQ2SEQ_BENCH_THREADS is a number from 1")
    });
    given.unwrap_or_else(|| available_parallelism().map_or(1, usize::from))
}
