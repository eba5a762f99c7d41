use super::*;
use crate::CpuOptions;
use seq2seq_core::{HostTensor, Precision};

const SPEC: AttentionSpec = AttentionSpec {
    heads: 2,
    kv_heads: 1,
    head_dim: 5,
    scale: 0.5,
    causal: true,
    rotary: None,
    dropout: 0.0,
    precision: Precision::F32,
};

const CACHE: CacheSpec = CacheSpec {
    layers: 1,
    kv_heads: 1,
    head_dim: 1,
    sequences: 1,
    beams: 1,
    capacity: 16,
    precision: Precision::F32,
};

/// Rows that tell of the hypothesis' history: the same ids give the same rows.
fn rows(cpu: &Cpu, ids: impl IntoIterator<Item = usize>) -> Tensor {
    let width = SPEC.qkv_width();
    let row = |id: usize| (0..width).map(move |c| ((id * 31 + c * 17) % 23) as f32 / 11.0 - 1.0);
    let values: Vec<f32> = ids.into_iter().flat_map(row).collect();
    let host = HostTensor::from_f32(vec![values.len() / width, width], &values).unwrap();
    crate::ops::embed::upload(cpu, &host).unwrap()
}

/// Hypotheses whose histories are known, so that each can be computed alone.
struct Decoding {
    cpu: Cpu,
    attention: AttentionSpec,
    cache: KvCache,
    histories: Vec<Vec<usize>>,
    next: usize,
}

impl Decoding {
    fn new(cpu: Cpu, beams: usize, precision: Precision) -> Self {
        let spec = CacheSpec { head_dim: 5, beams, capacity: 60, precision, ..CACHE };
        let attention = AttentionSpec { precision, ..SPEC };
        let cache = kv_cache(&cpu, &spec).unwrap();
        Self { cpu, attention, cache, histories: vec![Vec::new()], next: 0 }
    }

    /// Each hypothesis grows by so many positions, and must see its own history and only that.
    fn step(&mut self, lengths: &[usize]) {
        let Self { cpu, attention, cache, histories, next } = self;
        let ragged = Ragged::from_lengths(lengths.iter().copied());
        let mut ids = Vec::new();
        for (history, &n) in histories.iter_mut().zip(lengths) {
            let new = *next..*next + n;
            *next += n;
            ids.extend(new.clone());
            history.extend(new);
        }
        extend(cache, &ragged).unwrap();
        let x = rows(cpu, ids);
        let got = attend_step(cpu, (&x, &ragged), (cache, 0), attention, None).unwrap();
        for (history, range) in histories.iter().zip(ragged.ranges()) {
            let alone = Ragged::from_lengths([history.len()]);
            let x = rows(cpu, history.iter().copied());
            let want = crate::ops::attention::attend(cpu, &x, &alone, attention, None).unwrap();
            for (back, n) in range.rev().enumerate() {
                assert_eq!(got.row(n), want.row(history.len() - 1 - back));
            }
        }
    }

    fn reorder(&mut self, parents: &[usize]) {
        reorder(&mut self.cache, parents).unwrap();
        self.histories = parents.iter().map(|&p| self.histories[p].clone()).collect();
    }
}

fn each_cpu_and_precision(test: impl Fn(Cpu, Precision)) {
    for isa in crate::isa::Isa::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            test(Cpu::new(CpuOptions { threads: Some(2), isa: Some(isa) }).unwrap(), precision);
        }
    }
}

/// Unequal hypotheses until no slot is safe.
#[test]
fn separated_hypotheses_keep_their_histories() {
    each_cpu_and_precision(|cpu, precision| {
        let mut decoding = Decoding::new(cpu, 3, precision);
        let turns: [(&[usize], &[usize]); 6] = [
            (&[0, 0], &[0, 30]),
            (&[0, 1, 1], &[1, 1, 1]),
            // The owner of the slot in which hypothesis 2 reads is gone, and the short one has two children.
            (&[0, 0, 2], &[20, 19, 1]),
            (&[2, 2, 1], &[1, 2, 3]),
            (&[2, 0, 1], &[1, 1, 1]),
            (&[1, 1, 1], &[1, 1, 1]),
        ];
        decoding.step(&[3]);
        for (parents, lengths) in turns {
            decoding.reorder(parents);
            decoding.step(lengths);
        }
    });
}

/// The first is continued by itself and by the second, the second by itself and by the third, and so on.
#[test]
fn a_block_may_lie_in_more_slots_than_a_tile_has_blocks() {
    each_cpu_and_precision(|cpu, precision| {
        let mut decoding = Decoding::new(cpu, 7, precision);
        decoding.step(&[2]);
        decoding.reorder(&[0; 7]);
        decoding.step(&[1; 7]);
        for parent in 0..6 {
            let mut parents = [0, 1, 2, 3, 4, 5, 6];
            parents[parent + 1] = parent;
            decoding.reorder(&parents);
            decoding.step(&[1; 7]);
        }
        assert_eq!(decoding.cache.now.slots(6), [0, 0, 0, 1, 2, 3, 4, 5, 6]);
        // So far one row of two query vectors; now four of them, then many.
        decoding.step(&[1, 1, 1, 1, 1, 1, 2]);
        decoding.step(&[0, 0, 0, 0, 0, 1, 9]);
    });
}

#[test]
fn sizes_that_overflow_are_errors() {
    let (cpu, spec) = (Cpu::new(CpuOptions::default()).unwrap(), CACHE);
    for bad in [
        CacheSpec { capacity: usize::MAX - 20, ..spec },
        CacheSpec { capacity: 1 << 60, ..spec },
        CacheSpec { beams: 1 << 40, sequences: 1 << 40, ..spec },
    ] {
        assert!(kv_cache(&cpu, &bad).is_err(), "{bad:?}");
    }
}
