//! Recurrent layers over sequences and step by step, and additive attention: the cases of the conformance suite.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use seq2seq_core::conformance::{Timed, additive::AdditiveAttend, recurrent::Recur};
use seq2seq_cpu::{Cpu, CpuOptions};

fn timed<O: Timed>(c: &mut Criterion) {
    let cpu = Cpu::new(CpuOptions::default()).expect("this machine");
    let mut group = c.benchmark_group(O::NAME);
    for (name, case) in O::real() {
        let mut prepared = O::prepare(&cpu, &case).expect("a valid case");
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| O::call(&cpu, &mut prepared).expect("a valid call"));
        });
    }
}

criterion_group!(benches, timed::<Recur>, timed::<AdditiveAttend>);
criterion_main!(benches);
