//! Attention in bf16 against sums of rounded operands, and what no row may meet.

use super::*;
use crate::kernels::round::round;
use crate::ops::{cache, embed::upload};
use crate::{CpuOptions, isa::Isa};
use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::{CacheSpec, HostTensor, Precision};

const SPEC: AttentionSpec = AttentionSpec {
    heads: 2,
    kv_heads: 1,
    head_dim: 16,
    scale: 0.25,
    causal: true,
    rotary: None,
    dropout: 0.0,
    precision: Precision::Bf16,
};

const CACHE: CacheSpec = CacheSpec {
    layers: 1,
    kv_heads: 1,
    head_dim: SPEC.head_dim,
    sequences: 1,
    beams: 2,
    capacity: 21,
    precision: Precision::Bf16,
};

fn levels() -> impl Iterator<Item = Cpu> {
    let cpu = |isa| Cpu::new(CpuOptions { threads: Some(2), isa: Some(isa) }).unwrap();
    Isa::available().into_iter().map(cpu)
}

fn tensor(cpu: &Cpu, x: &[f32]) -> Tensor {
    let width = SPEC.qkv_width();
    let host = HostTensor::from_f32(vec![x.len() / width, width], x).unwrap();
    upload(cpu, &host).unwrap()
}

/// The formula in f64, for operands that `round` has passed. Probabilities are rounded as their dividends are.
fn formula(
    x: &[f32],
    n: usize,
    round: impl Fn(f32) -> f32,
    round_p: impl Fn(f32) -> f32,
) -> Vec<f64> {
    let (width, d) = (SPEC.qkv_width(), SPEC.head_dim);
    let at = |row: usize, column: usize| x[row * width + column];
    let mut out = Vec::new();
    for h in 0..SPEC.heads {
        let product = |j: usize, i: usize| {
            let (q, k) = (round(SPEC.scale * at(n, h * d + i)), round(at(j, SPEC.inner() + i)));
            f64::from(q) * f64::from(k)
        };
        let scores: Vec<f64> = (0..=n).map(|j| (0..d).map(|i| product(j, i)).sum()).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total: f64 = exps.iter().sum();
        out.extend((0..d).map(|i| {
            let value = |j: usize| f64::from(round(at(j, SPEC.inner() + d + i)));
            let term = |j: usize| f64::from(round_p(exps[j] as f32)) * value(j);
            (0..=n).map(term).sum::<f64>() / total
        }));
    }
    out
}

/// Where words are pairs, results are those of rounded operands, closer than those of any that are not rounded; where they
/// are not, those of f32.
#[test]
fn operands_are_rounded_where_words_are_pairs() {
    let x = values(Profile::Normal, 3, 37 * SPEC.qkv_width());
    let bf16 = |x| {
        let mut rounded = [0.0];
        round(Isa::Scalar, &[x], &mut rounded);
        rounded[0]
    };
    for cpu in levels() {
        let pairs = Layout::new(cpu.isa(), Precision::Bf16, 1).numbers == 2;
        let y = attend(&cpu, &tensor(&cpu, &x), &Ragged::from_lengths([37]), &SPEC, None).unwrap();
        let mut errors = [0.0f64; 3];
        for n in 0..37 {
            let wanted = [
                formula(&x, n, bf16, bf16),
                formula(&x, n, |x| x, |x| x),
                formula(&x, n, bf16, |x| x),
            ];
            for (error, wanted) in errors.iter_mut().zip(wanted) {
                let off = |(y, w): (&f32, f64)| (f64::from(*y) - w).abs();
                *error = y.row(n).iter().zip(wanted).map(off).fold(*error, f64::max);
            }
        }
        let [rounded, single, some] = errors;
        let isa = cpu.isa();
        match pairs {
            // A probability at the border of two bf16 may fall to either.
            true => assert!(rounded < 0.3 * single.min(some), "{isa}: {errors:?}"),
            false => assert!(single < 1e-5, "{isa}: {errors:?}"),
        }
    }
}

/// What one level laid out another reads, or refuses.
#[test]
fn levels_that_cannot_read_a_cache_say_so() {
    let x = values(Profile::Normal, 5, 3 * SPEC.qkv_width());
    let rows = Ragged::from_lengths([3]);
    for maker in levels() {
        for reader in levels() {
            let mut held = cache::kv_cache(&maker, &CACHE).unwrap();
            cache::extend(&mut held, &rows).unwrap();
            let x = tensor(&reader, &x);
            let y = cache::attend_step(&reader, (&x, &rows), (&mut held, 0), &SPEC, None);
            let numbers = |cpu: &Cpu| Layout::new(cpu.isa(), Precision::Bf16, 1).numbers;
            assert_eq!(y.is_ok(), numbers(&maker) <= numbers(&reader));
        }
    }
}

/// A value that a row does not see is not even multiplied by zero; a step over a cache does not meet what lies behind it.
#[test]
fn unseen_values_are_not_met() {
    let width = SPEC.qkv_width();
    let plain = values(Profile::Normal, 4, 21 * width);
    for cpu in levels() {
        for precision in [Precision::F32, Precision::Bf16] {
            let spec = AttentionSpec { precision, ..SPEC };
            let rows = Ragged::from_lengths([21]);
            let wanted = attend(&cpu, &tensor(&cpu, &plain), &rows, &spec, None).unwrap();
            for bad in [1, 8, 15, 16, 20] {
                let mut x = plain.clone();
                x[(bad + 1) * width - 1] = f32::INFINITY;
                let y = attend(&cpu, &tensor(&cpu, &x), &rows, &spec, None).unwrap();
                for n in 0..21 {
                    let same = y.row(n) == wanted.row(n);
                    assert_eq!(same, n < bad, "{} {precision:?}, {bad}, row {n}", cpu.isa());
                }
            }
            // A hypothesis that wrote infinity is dropped for its sibling, which takes its slot over.
            let mut held = cache::kv_cache(&cpu, &CacheSpec { precision, ..CACHE }).unwrap();
            let mut pass = |lengths: &[usize], parents: Option<&[usize]>, x: &[f32]| {
                if let Some(parents) = parents {
                    cache::reorder(&mut held, parents).unwrap();
                }
                let rows = Ragged::from_lengths(lengths.iter().copied());
                cache::extend(&mut held, &rows).unwrap();
                let x = tensor(&cpu, x);
                cache::attend_step(&cpu, (&x, &rows), (&mut held, 0), &spec, None).unwrap()
            };
            let row = |n: usize| &plain[n * width..(n + 1) * width];
            let mut bad = row(4).to_vec();
            bad[width - 1] = f32::INFINITY;
            pass(&[4], None, &plain[..4 * width]);
            pass(&[1, 1], Some(&[0, 0]), &[&bad, row(4)].concat());
            let y = pass(&[1], Some(&[1]), row(5));
            assert_eq!(y.row(0), wanted.row(5), "{} {precision:?}", cpu.isa());
            let y = pass(&[1, 1], Some(&[0, 0]), &[row(6), row(6)].concat());
            assert_eq!([y.row(0), y.row(1)], [wanted.row(6); 2], "{} {precision:?}", cpu.isa());
        }
    }
}
