//! What only sm_90a has.

use crate::host::{Number, device, download, random, run, upload};
use half::bf16;
use seq2seq_ptx::{Access, Arg, Fault, FaultKind, Module, Space};

/// Bytes of a row of a product that goes round several times.
const ROUNDS: usize = 384;

/// What nvcc makes of the kernels.
const TEXT: &str = include_str!("../kernels/hopper.ptx");

/// Runs a product of 64 rows and 16 rows, of `bytes` each: all its results, row by row.
fn run_product<T: Number>(
    kernel: &str,
    operands: [&[u8]; 2],
    bytes: usize,
    seed: u64,
) -> Result<Vec<T>, Fault> {
    run_product_of(TEXT, kernel, operands, bytes, seed)
}

/// The same of a kernel in `text`.
fn run_product_of<T: Number>(
    text: &str,
    kernel: &str,
    [a, b]: [&[u8]; 2],
    bytes: usize,
    seed: u64,
) -> Result<Vec<T>, Fault> {
    let module = Module::parse("hopper.ptx", text).expect("PTX of nvcc");
    let device = device();
    device.set_schedule(seed);
    let c = device.alloc(64 * 16 * 4).expect("room");
    let mut arguments =
        vec![Arg::pointer(upload(&device, a)), Arg::pointer(upload(&device, b)), Arg::pointer(c)];
    if kernel != "product_transposed" {
        arguments.push((bytes as i32).into());
    }
    run(&device, &module, kernel, [1, 128], &arguments)?;
    Ok(download(&device, c, 64 * 16))
}

/// A product of bf16; what it gives, and what it should.
fn product(kernel: &str, bytes: usize, seed: u64) -> (Result<Vec<f32>, Fault>, Vec<f64>) {
    let depth = bytes / 2;
    let short = |values: Vec<f32>| values.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let (a, b) = (short(random(64 * depth, 5)), short(random(16 * depth, 6)));
    let bits = |values: &[bf16]| -> Vec<u8> {
        values.iter().flat_map(|v| v.to_bits().to_le_bytes()).collect()
    };
    let transposed = kernel == "product_transposed";
    let expected = (0..64 * 16)
        .map(|i| {
            let (row, column) = (i / 16, i % 16);
            let right = |k: usize| if transposed { k * 16 + column } else { column * depth + k };
            (0..depth).map(|k| a[row * depth + k].to_f64() * b[right(k)].to_f64()).sum()
        })
        .collect();
    (run_product(kernel, [&bits(&a), &bits(&b)], bytes, seed), expected)
}

fn check(kernel: &str, bytes: usize) {
    for seed in 0..4 {
        let (found, expected) = product(kernel, bytes, seed);
        let found = found.unwrap_or_else(|fault| panic!("{fault}"));
        for (f, e) in found.iter().zip(&expected) {
            assert!((f64::from(*f) - e).abs() < 1e-4, "{kernel}: {f}, expected {e}");
        }
    }
}

/// Bytes of all kinds, for 64 rows and for 16.
fn bytes(depth: usize) -> [Vec<u8>; 2] {
    let bytes = |rows, seed| {
        let values = random(rows * depth, seed);
        values.into_iter().map(|v| (v * 128.0) as i8 as u8).collect::<Vec<_>>()
    };
    [bytes(64, 5), bytes(16, 6)]
}

/// A product of bytes, exact, whichever of the two sides is signed.
fn check_bytes(kernel: &str, value: [fn(u8) -> i32; 2]) {
    let [a, b] = bytes(ROUNDS);
    let expected: Vec<i32> = (0..64 * 16)
        .map(|i| {
            let (a, b) = (&a[i / 16 * ROUNDS..], &b[i % 16 * ROUNDS..]);
            (0..ROUNDS).map(|k| value[0](a[k]) * value[1](b[k])).sum()
        })
        .collect();
    for seed in 0..4 {
        let found = run_product::<i32>(kernel, [&a, &b], ROUNDS, seed);
        assert_eq!(found.unwrap_or_else(|fault| panic!("{fault}")), expected, "{kernel}");
    }
}

#[test]
fn products_of_core_matrices() {
    check("product_cores", ROUNDS);
}

#[test]
fn products_of_swizzled_rows() {
    check("product_swizzled", ROUNDS);
}

#[test]
fn products_with_a_transposed_side() {
    check("product_transposed", 32);
}

#[test]
fn products_of_bytes() {
    let unsigned = |byte: u8| i32::from(byte);
    let signed = |byte: u8| i32::from(byte as i8);
    check_bytes("bytes_cores", [unsigned, signed]);
    check_bytes("bytes_swizzled", [unsigned, signed]);
    check_bytes("bytes_signed_rows", [signed, unsigned]);
}

/// Both kinds of products, of numbers of two bytes and of bytes.
fn fault(mistake: &str, rows: usize, seed: u64) -> [Fault; 2] {
    let [a, b] = bytes(rows);
    ["product", "bytes"].map(|kind| {
        let kernel = format!("{kind}_{mistake}");
        run_product::<i32>(&kernel, [&a, &b], rows, seed).expect_err(&kernel)
    })
}

#[test]
fn product_without_a_proxy_fence() {
    for fault in fault("without_fence", 128, 0) {
        assert!(matches!(fault.kind, FaultKind::MissingProxyFence { .. }), "{fault}");
    }
}

/// A sum is set between the `wgmma.fence` and the product that adds to it.
#[test]
fn product_whose_registers_were_changed_behind_the_fence() {
    let [a, b] = bytes(128);
    for (kernel, types) in [("product_cores", ".bf16.bf16 {"), ("bytes_swizzled", ".u8.s8 {")] {
        let (before, own) = TEXT.split_at(TEXT.find(&format!(".entry {kernel}(")).unwrap());
        let (_, sums) = own.split_once(types).expect("a product");
        let (sum, _) = sums.split_once(',').expect("several sums");
        let fence = own.find("wgmma.fence.sync.aligned;").unwrap();
        let product = fence + own[fence..].find("{.reg .pred p;").expect("one behind the fence");
        let run = |place| {
            let change = format!("mov.b32 {sum}, {sum};\n\t");
            let text = [before, &own[..place], &change, &own[place..]].concat();
            run_product_of::<i32>(&text, kernel, [&a, &b], 128, 0).err()
        };
        // Before the fence it may be.
        assert!(run(fence).is_none(), "{kernel}");
        let fault = run(product).expect(kernel);
        assert!(fault.to_string().contains("written since the last wgmma.fence"), "{fault}");
    }
}

/// Shared memory is overwritten while the product may still read it.
#[test]
fn product_that_is_not_waited_for_in_time() {
    for fault in (0..4).flat_map(|seed| fault("too_early", ROUNDS, seed)) {
        assert!(matches!(fault.kind, FaultKind::PendingCopy { .. }), "{fault}");
    }
}

/// A descriptor whose rows lie further apart than those in memory, which end before.
#[test]
fn product_by_a_wrong_descriptor() {
    for fault in fault("wrong_stride", 128, 0) {
        let space = Space::Shared;
        let FaultKind::OutOfBounds { space: s, access: Access::Read, .. } = fault.kind else {
            panic!("{fault}")
        };
        assert_eq!(s, space);
    }
}

/// What this reads of the ISA and no more: other forms are errors that name them.
#[test]
fn other_products_are_not_known() {
    let parse = |instruction: &str| {
        let text = format!(
            ".version 9.0\n.target sm_90a\n.address_size 64\n.visible .entry test() {{
            .reg .b32 %r<32>; .reg .b64 %a, %b; .reg .pred %p;
            {instruction}; ret; }}"
        );
        Module::parse("wgmma.ptx", &text).map(|_| ()).map_err(|e| e.to_string())
    };
    let registers = |count| (0..count).map(|i| format!("%r{i}")).collect::<Vec<_>>().join(",");
    let bytes = |shape: &str, sums, more: &str| {
        let sums = registers(sums);
        parse(&format!("wgmma.mma_async.sync.aligned.{shape} {{{sums}}}, %a, %b, %p{more}"))
    };
    assert_eq!(bytes("m64n8k32.s32.u8.s8", 4, ""), Ok(()));
    assert_eq!(bytes("m64n24k32.s32.s8.s8", 12, ""), Ok(()));
    for (shape, sums) in [
        ("m64n40k32.s32.u8.s8", 20),
        ("m64n8k16.s32.u8.s8", 4),
        ("m64n8k32.s32.u8.s4", 4),
        ("m64n8k32.satfinite.s32.u8.s8", 4),
        ("m64n8k32.f32.e4m3.e4m3", 4),
    ] {
        let error = bytes(shape, sums, "").expect_err(shape);
        let named = format!("wgmma.mma_async.sync.aligned.{shape} is not known");
        assert!(error.contains(&named), "{error}");
    }
    // Those of floats have signs, and these have none.
    assert!(bytes("m64n8k32.s32.u8.s8", 4, ", 1, 1").expect_err("signs").contains("operands"));
}

/// Results that are taken before they are waited for are not numbers.
#[test]
fn product_whose_results_are_taken_too_early() {
    let (result, _) = product("product_without_wait", 128, 0);
    assert!(result.expect("no race in one round").iter().all(|v| v.is_nan()));
    let [a, b] = bytes(128);
    let result = run_product::<u32>("bytes_without_wait", [&a, &b], 128, 0);
    assert_eq!(result.expect("no race in one round"), [f32::NAN.to_bits(); 64 * 16]);
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
