//! One operation on every device, side by side, under Criterion.
//!
//! Two variables are the parameters: `SEQ2SEQ_BENCH_DEVICES`, a list such as `cpu:avx2,cpu:avx512,tch:cpu` (without it one device of
//! each backend that is built in), and `SEQ2SEQ_BENCH_THREADS` (without it one for each core). A benchmark is named
//! `family/operation/case/device`, so that a filter picks any of these.

use criterion::{BenchmarkId, Criterion, Throughput};
use seq2seq_benches::{
    backends::{BUILT_IN, Opened},
    bench::Bench,
    environment::{self, variable},
};
use std::{sync::OnceLock, time::Duration};

/// Criterion with little time for each of many cases; options of the command line come on top.
pub(crate) fn criterion() -> Criterion {
    let short = Criterion::default().sample_size(20);
    short.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

/// Opened once, however many operations are compared.
fn devices() -> &'static [Opened] {
    static DEVICES: OnceLock<Vec<Opened>> = OnceLock::new();
    DEVICES.get_or_init(|| open().unwrap_or_else(|error| panic!("{error}")))
}

fn open() -> seq2seq_core::Result<Vec<Opened>> {
    let threads = environment::threads();
    let names = variable("SEQ2SEQ_BENCH_DEVICES").unwrap_or_else(|| BUILT_IN.join(","));
    names.split(',').map(|name| Opened::open(name.trim(), threads)).collect()
}

/// Times every case on every device. What a filter leaves out is not prepared.
pub(crate) fn compare<O: Bench>(c: &mut Criterion, family: &str, cases: Vec<(String, O::Case)>) {
    let operation = match O::NAME {
        name if name == family => family.to_owned(),
        name => format!("{family}/{name}"),
    };
    for (name, case) in cases {
        let mut group = c.benchmark_group(format!("{operation}/{name}"));
        let work = O::work(&case);
        group.throughput(Throughput::ElementsAndBytes {
            elements: work.operations as u64,
            bytes: work.bytes as u64,
        });
        for device in devices().iter().filter(|device| device.offers::<O>(&case)) {
            let mut runner = None;
            group.bench_function(BenchmarkId::from_parameter(device.name()), |b| {
                let runner =
                    runner.get_or_insert_with(|| device.prepare::<O>(&case).expect("a valid case"));
                b.iter_custom(|calls| runner.run(calls as usize).expect("a valid call").all);
            });
        }
    }
}
