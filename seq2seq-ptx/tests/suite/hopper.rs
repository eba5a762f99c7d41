//! What only sm_90a has.

use crate::host::{device, download, random, run, upload};
use half::bf16;
use seq2seq_ptx::{Arg, Fault, FaultKind, Module};

/// Runs a product of 64 x `depth` and 16 x `depth`; what it gives, and what it should.
fn product(kernel: &str, depth: usize, seed: u64) -> (Result<Vec<f32>, Fault>, Vec<f64>) {
    let module =
        Module::parse("hopper.ptx", include_str!("../kernels/hopper.ptx")).expect("PTX of nvcc");
    let short = |values: Vec<f32>| values.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let (a, b) = (short(random(64 * depth, 5)), short(random(16 * depth, 6)));
    let bits = |values: &[bf16]| values.iter().map(|v| v.to_bits()).collect::<Vec<u16>>();
    let transposed = kernel == "product_transposed";
    let expected = (0..64 * 16)
        .map(|i| {
            let (row, column) = (i / 16, i % 16);
            let right = |k: usize| if transposed { k * 16 + column } else { column * depth + k };
            (0..depth).map(|k| a[row * depth + k].to_f64() * b[right(k)].to_f64()).sum()
        })
        .collect();
    let device = device();
    device.set_schedule(seed);
    let c = device.alloc(64 * 16 * 4).expect("room");
    let mut arguments = vec![
        Arg::pointer(upload(&device, &bits(&a))),
        Arg::pointer(upload(&device, &bits(&b))),
        Arg::pointer(c),
    ];
    if !transposed {
        arguments.push((depth as i32).into());
    }
    let result = run(&device, &module, kernel, [1, 128], &arguments);
    (result.map(|()| download(&device, c, 64 * 16)), expected)
}

fn check(kernel: &str, depth: usize) {
    for seed in 0..4 {
        let (found, expected) = product(kernel, depth, seed);
        let found = found.unwrap_or_else(|fault| panic!("{fault}"));
        for (f, e) in found.iter().zip(&expected) {
            assert!((f64::from(*f) - e).abs() < 1e-4, "{kernel}: {f}, expected {e}");
        }
    }
}

#[test]
fn products_of_core_matrices() {
    check("product_cores", 192);
}

#[test]
fn products_of_swizzled_rows() {
    check("product_swizzled", 192);
}

#[test]
fn products_with_a_transposed_side() {
    check("product_transposed", 16);
}

#[test]
fn product_without_a_proxy_fence() {
    let (result, _) = product("product_without_fence", 64, 0);
    let fault = result.expect_err("a missing fence");
    assert!(matches!(fault.kind, FaultKind::MissingProxyFence { .. }), "{fault}");
}

/// Shared memory is overwritten while the product may still read it.
#[test]
fn product_that_is_not_waited_for_in_time() {
    for seed in 0..4 {
        let (result, _) = product("product_too_early", 192, seed);
        let fault = result.expect_err("a race with the product");
        assert!(matches!(fault.kind, FaultKind::PendingCopy { .. }), "{fault}");
    }
}

/// Results that are taken before they are waited for are not numbers.
#[test]
fn product_whose_results_are_taken_too_early() {
    let (result, _) = product("product_without_wait", 64, 0);
    assert!(result.expect("no race in one round").iter().all(|v| v.is_nan()));
}

/// Runs a kernel that sums tiles of 64 numbers.
fn tiles(kernel: &str, seed: u64) -> Result<(), Fault> {
    let module =
        Module::parse("hopper.ptx", include_str!("../kernels/hopper.ptx")).expect("PTX of nvcc");
    let (device, count) = (device(), 7);
    device.set_schedule(seed);
    device.set_budget(100_000);
    let x = random(64 * count, 3);
    let y = device.alloc(256).expect("room");
    let arguments = [Arg::pointer(upload(&device, &x)), Arg::pointer(y), (count as i32).into()];
    run(&device, &module, kernel, [1, 96], &arguments)?;
    let expected: Vec<f32> =
        (0..64).map(|t| (0..count).fold(0.0, |sum, i| sum + x[i * 64 + 63 - t])).collect();
    assert_eq!(download::<f32>(&device, y, 64), expected);
    Ok(())
}

#[test]
fn bulk_copies() {
    for seed in 0..6 {
        tiles("bulk_right", seed).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        let caught = |kernel: &str, expected: fn(&FaultKind) -> bool| {
            let fault = tiles(kernel, seed).expect_err(kernel);
            assert!(expected(&fault.kind), "{kernel}, seed {seed}: {fault}");
        };
        caught("bulk_not_waited", |k| {
            matches!(k, FaultKind::PendingCopy { .. } | FaultKind::Uninitialised { .. })
        });
        // The other parity is that of the phase before, which is complete.
        caught("bulk_wrong_parity", |k| {
            matches!(k, FaultKind::PendingCopy { .. } | FaultKind::Uninitialised { .. })
        });
        caught("bulk_not_initialised", |k| {
            matches!(k, FaultKind::Race { .. } | FaultKind::Uninitialised { .. })
        });
        caught("bulk_not_released", |k| {
            matches!(k, FaultKind::PendingCopy { .. } | FaultKind::Race { .. })
        });
        caught("bulk_too_few_bytes", |k| {
            matches!(k, FaultKind::Deadlock(_) | FaultKind::Runaway(_))
        });
    }
}

#[test]
fn copies_that_arrive_at_a_barrier() {
    let module =
        Module::parse("hopper.ptx", include_str!("../kernels/hopper.ptx")).expect("PTX of nvcc");
    for seed in 0..4 {
        let device = device();
        device.set_schedule(seed);
        let x = random(256, 3);
        let y = device.alloc(256).expect("room");
        let arguments = [Arg::pointer(upload(&device, &x)), Arg::pointer(y)];
        run(&device, &module, "copies_right", [1, 64], &arguments)
            .unwrap_or_else(|fault| panic!("{fault}"));
        let expected: Vec<f32> = (0..64).map(|t| x[(63 - t) * 4 + 1]).collect();
        assert_eq!(download::<f32>(&device, y, 64), expected);
        let fault = run(&device, &module, "copies_wrong", [1, 64], &arguments).expect_err("early");
        let kind = &fault.kind;
        let early = matches!(kind, FaultKind::PendingCopy { .. } | FaultKind::Uninitialised { .. });
        assert!(early, "{fault}");
    }
}
