//! Attention: whole sequences, and one step over a cache.
#![allow(missing_docs)] // criterion's macros

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use seq2seq_core::{AttentionSpec, Backend, CacheSpec, DecoderOps, EncoderOps, HostTensor, Ragged};
use seq2seq_cpu::{Cpu, CpuOptions};

const SPEC: AttentionSpec = AttentionSpec {
    heads: 12,
    kv_heads: 12,
    head_dim: 64,
    scale: 0.125,
    causal: true,
    rotary: None,
    dropout: 0.0,
};

fn qkv(cpu: &Cpu, rows: usize) -> <Cpu as Backend>::Tensor {
    let width = SPEC.qkv_width();
    let values: Vec<f32> = (0..rows * width).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
    let host = HostTensor::from_f32(vec![rows, width], &values).expect("matching length");
    cpu.upload(&host).expect("float")
}

fn whole(c: &mut Criterion) {
    let cpu = Cpu::new(CpuOptions::default()).expect("this machine");
    let mut group = c.benchmark_group("attend");
    for length in [16, 128, 512] {
        let (x, rows) = (qkv(&cpu, length), Ragged::from_lengths([length]));
        group.bench_with_input(BenchmarkId::from_parameter(length), &length, |b, _| {
            b.iter(|| cpu.attend(&x, &rows, &SPEC, None))
        });
    }
}

fn step(c: &mut Criterion) {
    let cpu = Cpu::new(CpuOptions::default()).expect("this machine");
    let mut group = c.benchmark_group("attend_step");
    for context in [64usize, 512, 2048] {
        let prompt = (qkv(&cpu, context), Ragged::from_lengths([context]));
        let next = (qkv(&cpu, 1), Ragged::single_rows(1));
        let filled = || {
            let spec = CacheSpec {
                layers: 1,
                kv_heads: SPEC.kv_heads,
                head_dim: SPEC.head_dim,
                sequences: 1,
                beams: 1,
                capacity: context + 1,
            };
            let mut cache = cpu.kv_cache(&spec).expect("memory");
            cpu.extend(&mut cache, &prompt.1).expect("room");
            cpu.attend_step(&prompt.0, &prompt.1, &mut cache, 0, &SPEC, None).expect("shapes");
            cpu.extend(&mut cache, &next.1).expect("room");
            cache
        };
        group.bench_with_input(BenchmarkId::from_parameter(context), &context, |b, _| {
            b.iter_batched_ref(
                filled,
                |cache| cpu.attend_step(&next.0, &next.1, cache, 0, &SPEC, None),
                BatchSize::LargeInput,
            )
        });
    }
}

criterion_group!(benches, whole, step);
criterion_main!(benches);
