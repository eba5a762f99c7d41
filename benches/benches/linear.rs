//! Linear layers over the shapes of real models, each format and instruction set.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use seq2seq_core::{Backend, Epilogue, Format, HostTensor, LinearSpec};
use seq2seq_cpu::{Cpu, CpuOptions, Isa};

/// Input and output widths: T5-base projections and feed-forward, T5-small vocabulary.
const SHAPES: [(usize, usize); 4] = [(768, 768), (768, 3072), (3072, 768), (512, 32128)];
/// Rows: one decode step, a beam, a batch, a short prefill, a long one.
const ROWS: [usize; 5] = [1, 4, 8, 64, 512];

/// Values in [-1, 1) from a linear congruential generator: speed does not depend on them.
fn values(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn tensor(rows: usize, width: usize) -> HostTensor {
    HostTensor::from_f32(vec![rows, width], &values(rows * width)).expect("matching length")
}

fn linear(c: &mut Criterion) {
    for isa in Isa::available() {
        let cpu = Cpu::new(CpuOptions { isa: Some(isa), threads: None }).expect("available");
        for (k, n) in SHAPES {
            let spec = LinearSpec::single(tensor(n, k), None);
            for format in Format::ALL {
                let layer = cpu.pack(&spec, format).expect("finite");
                let mut group = c.benchmark_group(format!("linear/{isa}/{format}/{k}x{n}"));
                for rows in ROWS.into_iter().filter(|&m| n < 10_000 || m <= 8) {
                    let x = cpu.upload(&tensor(rows, k)).expect("float");
                    group.throughput(match rows {
                        1..=8 => Throughput::Bytes(format.bytes(n, k) as u64),
                        _ => Throughput::Elements((2 * rows * k * n) as u64),
                    });
                    group.bench_with_input(BenchmarkId::from_parameter(rows), &rows, |b, _| {
                        b.iter(|| cpu.linear(&x, &layer, Epilogue::NONE))
                    });
                }
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = linear
}
criterion_main!(benches);
