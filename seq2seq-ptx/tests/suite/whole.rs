//! Whole kernels as nvcc compiled them, compared with plain loops.

use crate::host::{device, download, random, run, upload};
use half::bf16;
use seq2seq_ptx::{Arg, Launch, Module};

fn module() -> Module {
    Module::parse("whole.ptx", include_str!("../kernels/whole.ptx")).expect("PTX of nvcc")
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*f) - e).abs();
        assert!(error <= tolerance * e.abs().max(1.0), "{i}: {f}, expected {e}");
    }
}

#[test]
fn reduce() {
    for seed in 0..4 {
        let (device, n) = (device(), 10_000);
        device.set_schedule(seed);
        let x = random(n, 3);
        let sum = device.alloc(4).expect("room");
        let arguments = [
            Arg::pointer(upload(&device, &x)),
            Arg::pointer(device.alloc(16 * 4).expect("room")),
            Arg::pointer(upload(&device, &[0u32])),
            Arg::pointer(sum),
            (n as i32).into(),
        ];
        run(&device, &module(), "reduce", [16, 256], &arguments).unwrap_or_else(|f| panic!("{f}"));
        let expected = x.iter().map(|v| f64::from(*v)).sum();
        close(&download(&device, sum, 1), &[expected], 1e-5);
    }
}

#[test]
fn softmax() {
    let (device, rows, n) = (device(), 7, 77);
    let x: Vec<f32> = random(rows * n, 4).iter().map(|v| v * 8.0).collect();
    let y = device.alloc((rows * n * 4) as u64).expect("room");
    let arguments = [
        Arg::pointer(upload(&device, &x)),
        Arg::pointer(y),
        (rows as i32).into(),
        (n as i32).into(),
    ];
    run(&device, &module(), "softmax", [2, 128], &arguments).unwrap_or_else(|f| panic!("{f}"));
    let expected: Vec<f64> = x
        .chunks(n)
        .flat_map(|row| {
            let sum: f64 = row.iter().map(|v| f64::from(*v).exp()).sum();
            row.iter().map(move |v| f64::from(*v).exp() / sum).collect::<Vec<_>>()
        })
        .collect();
    close(&download(&device, y, rows * n), &expected, 1e-6);
}

#[test]
fn multiply_tiles() {
    let (m, n, k) = (128, 64, 96);
    let short = |values: Vec<f32>| values.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let (a, b) = (short(random(m * k, 5)), short(random(k * n, 6)));
    let bits = |values: &[bf16]| values.iter().map(|v| v.to_bits()).collect::<Vec<u16>>();
    let expected: Vec<f64> = (0..m * n)
        .map(|i| (0..k).map(|j| a[i / n * k + j].to_f64() * b[j * n + i % n].to_f64()).sum())
        .collect();
    for seed in 0..3 {
        let device = device();
        device.set_schedule(seed);
        let c = device.alloc((m * n * 4) as u64).expect("room");
        let arguments = [
            Arg::pointer(upload(&device, &bits(&a))),
            Arg::pointer(upload(&device, &bits(&b))),
            Arg::pointer(c),
            (m as i32).into(),
            (n as i32).into(),
            (k as i32).into(),
        ];
        let (grid, block) = ([1, 2, 1], [128, 1, 1]);
        let shape = Launch { grid, block, dynamic_shared: 0, cooperative: false };
        let result = device.launch(&module(), "multiply_tiles", shape, &arguments);
        result.unwrap_or_else(|fault| panic!("{fault}"));
        close(&download(&device, c, m * n), &expected, 1e-5);
    }
}

#[test]
fn functions() {
    let (device, n) = (device(), 100);
    let x = random(n, 8);
    let y = device.alloc((n * 16 * 4) as u64).expect("room");
    let arguments = [Arg::pointer(upload(&device, &x)), Arg::pointer(y), (n as i32).into()];
    run(&device, &module(), "functions", [2, 64], &arguments).unwrap_or_else(|f| panic!("{f}"));
    let expected: Vec<f64> = x.iter().enumerate().flat_map(|(i, v)| expected(i, *v)).collect();
    close(&download(&device, y, n * 16), &expected, 2e-6);
}

/// What `functions` computes of a number.
fn expected(i: usize, v: f32) -> [f64; 16] {
    let w = f64::from(v);
    let polynomial = (0..=3 + i % 3).fold(0.0, |y, k| y * w + f64::from(1.0f32 / (k as f32 + 1.0)));
    let (i, single) = (i as i64, |x: f32| f64::from(x));
    [
        w.exp(),
        single(v.abs() + 0.5).ln(),
        w.tanh(),
        erf(w),
        single(v * 100.0).sin(),
        single(v.abs() + 0.1).powf(f64::from(1.7f32)),
        w.abs().ln_1p(),
        w.exp_m1(),
        1.0 / single(v.abs() + 1.0).sqrt(),
        polynomial,
        w.exp(),
        single(v * 10.0).floor() + single(v * 7.0).round_ties_even(),
        single(v * 50.0) % 3.0,
        w.cbrt(),
        (i * 7919 % 1000 / 7) as f64 + (i * 123_456_789 / 1000) as f64,
        [w + 1.0, w * 2.0, w - 3.0, w / 4.0, -w, 0.0][i as usize % 6],
    ]
}

/// The error function by its series, which converges everywhere.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

/// Blocks that wait for each other run in turn.
#[test]
fn grid_rounds() {
    for seed in 0..3 {
        let (device, blocks, rounds) = (device(), 6, 5);
        device.set_schedule(seed);
        let mut x: Vec<f32> = random(blocks, 9);
        let both = upload(&device, &[x.clone(), vec![0.0; blocks]].concat());
        let arguments = [Arg::pointer(both), Arg::pointer(upload(&device, &[0u32])), rounds.into()];
        let shape = [blocks as u32, 1];
        let result = run(&device, &module(), "grid_rounds", shape, &arguments);
        result.unwrap_or_else(|fault| panic!("{fault}"));
        for _ in 0..rounds {
            x = (0..blocks).map(|b| x[(b + 1) % blocks] + x[b]).collect();
        }
        let found = download::<f32>(&device, both, 2 * blocks);
        assert_eq!(found[rounds as usize % 2 * blocks..][..blocks], x);
    }
}
