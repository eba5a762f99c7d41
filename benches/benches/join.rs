//! What it costs to divide an operation: the smallest that is divided, done by one thread and by two, at once after the
//! last one and after a pause in which the workers fall asleep.
//!
//! The work is a few microseconds. So two threads at once should take little longer than one (the join of threads that
//! are awake), and after the pause no longer than one and a wake: nobody waits for a sleeper.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use seq2seq_core::{Backend, HostTensor};
use seq2seq_cpu::{Cpu, CpuOptions};
use std::time::{Duration, Instant};

/// Two rows of so many values: just enough to copy that it is divided.
const WIDTH: usize = 16384;
/// Longer than the workers stay awake.
const PAUSE: Duration = Duration::from_millis(3);

fn join(c: &mut Criterion) {
    let host = HostTensor::from_f32(vec![2, WIDTH], &[0.5; 2 * WIDTH]).expect("matching length");
    let mut group = c.benchmark_group("join");
    for threads in [1, 2] {
        let options = CpuOptions { threads: Some(threads), isa: None };
        let cpu = Cpu::new(options).expect("this machine");
        let x = cpu.upload(&host).expect("float");
        group.bench_function(BenchmarkId::new("at once", threads), |b| {
            b.iter(|| cpu.gather_rows(&x, &[0, 1]))
        });
        group.bench_function(BenchmarkId::new("after a pause", threads), |b| {
            b.iter_custom(|times| {
                (0..times).fold(Duration::ZERO, |sum, _| {
                    std::thread::sleep(PAUSE);
                    let start = Instant::now();
                    let copied = cpu.gather_rows(&x, &[0, 1]);
                    let took = start.elapsed();
                    drop(copied);
                    sum + took
                })
            })
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = join
}
criterion_main!(benches);
