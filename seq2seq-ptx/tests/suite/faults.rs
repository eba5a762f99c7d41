//! Kernels with a mistake: each right version passes under several schedules, each wrong one is caught where it goes wrong.

use crate::host::{device, random, run, upload};
use seq2seq_ptx::{Access, Arg, Device, Fault, FaultKind, Launch, Module, Space};

const SOURCE: &str = include_str!("../kernels/faults.cu");

fn module() -> Module {
    Module::parse("faults.ptx", include_str!("../kernels/faults.ptx")).expect("PTX of nvcc")
}

/// How a pair of kernels is launched.
struct Case {
    name: &'static str,
    shape: [u32; 2],
    shared: u32,
    arguments: fn(&Device) -> Vec<Arg>,
    expected: fn(&FaultKind) -> bool,
    cooperative: bool,
}

fn launch(case: &Case, version: &str, seed: u64) -> Result<(), Fault> {
    let device = device();
    device.set_schedule(seed);
    device.set_budget(200_000);
    let [blocks, threads] = case.shape;
    let (dynamic_shared, cooperative) = (case.shared, case.cooperative);
    let (grid, block) = ([blocks, 1, 1], [threads, 1, 1]);
    let shape = Launch { grid, block, dynamic_shared, cooperative };
    let arguments = (case.arguments)(&device);
    device.launch(&module(), &format!("{}_{version}", case.name), shape, &arguments)
}

/// The line of the source that is marked with a name.
fn marked(name: &str) -> u32 {
    let found = |l: &str| l.split("// FAULT ").nth(1).is_some_and(|rest| rest.trim() == name);
    1 + SOURCE.lines().position(found).expect("a marked line") as u32
}

fn check(case: &Case) {
    for seed in 0..6 {
        let right = launch(case, "right", seed);
        assert!(right.is_ok(), "{}, seed {seed}: {}", case.name, right.unwrap_err());
        let Err(fault) = launch(case, "wrong", seed) else {
            panic!("{}, seed {seed}: nothing was found", case.name);
        };
        assert!((case.expected)(&fault.kind), "{}, seed {seed}: {fault}", case.name);
        let site = fault.site.expect("a thread did it");
        assert_eq!(site.kernel, format!("{}_wrong", case.name));
        assert_ne!(site.line, 0);
        let (file, line) = site.source.expect("compiled with -lineinfo");
        if case.check_line() {
            assert_eq!((file.as_str(), line), ("faults.cu", marked(case.name)), "{}", case.name);
        }
    }
}

impl Case {
    /// A race can be found at either of its two sides, and what a barrier lacks at any of those that wait.
    fn check_line(&self) -> bool {
        let either = [
            "missing_barrier",
            "overwritten",
            "wait_without_barrier",
            "wrong_buffer",
            "divergent_barrier",
            "different_counts",
            "early_return",
        ];
        !either.contains(&self.name) && !self.cooperative
    }
}

fn floats(device: &Device, count: usize) -> Arg {
    Arg::pointer(upload(device, &random(count, 1)))
}

fn numbers(device: &Device, count: usize) -> Arg {
    Arg::pointer(upload(device, &vec![0u32; count]))
}

fn empty(device: &Device, bytes: u64) -> Arg {
    Arg::pointer(device.alloc(bytes).expect("room"))
}

fn race(kind: &FaultKind, in_space: Space) -> bool {
    matches!(kind, FaultKind::Race { space, .. } if *space == in_space)
}

fn outside(kind: &FaultKind, in_space: Space, by: Access) -> bool {
    matches!(kind, FaultKind::OutOfBounds { space, access, .. } if *space == in_space && *access == by)
}

fn unwritten(kind: &FaultKind, in_space: Space) -> bool {
    matches!(kind, FaultKind::Uninitialised { space, .. } if *space == in_space)
}

fn waits_for_ever(kind: &FaultKind) -> bool {
    matches!(kind, FaultKind::Deadlock(told) if told.contains("again and again"))
}

/// Of the kernels whose blocks wait for each other: two buffers, the counters, and how many rounds.
fn rounds(device: &Device) -> Vec<Arg> {
    vec![numbers(device, 8), numbers(device, 2), 3.into()]
}

macro_rules! cases {
    ($($name:ident, $shape:expr, $shared:expr, $arguments:expr, $expected:expr;)*) => {$(
        #[test]
        fn $name() {
            check(&Case {
                name: stringify!($name),
                shape: $shape,
                shared: $shared,
                arguments: $arguments,
                expected: $expected,
                cooperative: stringify!($name).starts_with("grid_"),
            });
        }
    )*};
}

cases! {
    missing_barrier, [1, 128], 0, |d| vec![floats(d, 128)], |k| race(k, Space::Shared);
    overwritten, [1, 128], 0, |d| vec![floats(d, 128), 3.into()], |k| race(k, Space::Shared);
    wrong_wait, [1, 32], 0, |d| vec![floats(d, 256), empty(d, 128)],
        |k| matches!(k, FaultKind::PendingCopy { space: Space::Shared, .. });
    wait_without_barrier, [1, 64], 0, |d| vec![floats(d, 256), empty(d, 256)],
        |k| race(k, Space::Shared) || matches!(k, FaultKind::PendingCopy { .. });
    wrong_buffer, [1, 64], 0, |d| vec![floats(d, 1024), empty(d, 256), 4.into()],
        |k| race(k, Space::Shared) || matches!(k, FaultKind::PendingCopy { .. });
    wrong_lane, [1, 32], 0, |d| vec![floats(d, 32)],
        |k| matches!(k, FaultKind::InactiveLane { .. });
    wrong_mask, [1, 32], 0, |d| vec![floats(d, 32)],
        |k| matches!(k, FaultKind::InactiveLane { lane: 16, .. });
    past_the_end, [2, 64], 0, |d| vec![empty(d, 400), 100.into()],
        |k| outside(k, Space::Global, Access::Write);
    before_the_start, [1, 64], 0, |d| vec![floats(d, 60), empty(d, 240), 60.into()],
        |k| outside(k, Space::Global, Access::Read);
    past_shared, [1, 64], 256, |d| vec![floats(d, 64)],
        |k| outside(k, Space::Shared, Access::Write);
    misaligned, [1, 32], 0, |d| vec![floats(d, 132), empty(d, 128)],
        |k| matches!(k, FaultKind::Misaligned { space: Space::Global, bytes: 16, .. });
    misaligned_rows, [1, 32], 0, |d| vec![empty(d, 128)],
        |k| matches!(k, FaultKind::Misaligned { space: Space::Shared, bytes: 16, .. });
    uninitialised, [1, 32], 0, |d| vec![empty(d, 128), floats(d, 32)],
        |k| unwritten(k, Space::Global);
    uninitialised_shared, [1, 128], 0, |d| vec![empty(d, 512)], |k| unwritten(k, Space::Shared);
    uninitialised_local, [1, 32], 0, |d| vec![empty(d, 128), 8.into()],
        |k| unwritten(k, Space::Local);
    divergent_barrier, [1, 64], 0, |d| vec![numbers(d, 64)],
        |k| matches!(k, FaultKind::Divergence(_));
    early_return, [1, 64], 0, |d| vec![numbers(d, 64), 50.into()],
        |k| matches!(k, FaultKind::Divergence(_));
    deadlock, [1, 64], 0, |d| vec![numbers(d, 64)], |k| matches!(k, FaultKind::Deadlock(_));
    different_counts, [1, 64], 0, |d| vec![numbers(d, 64)],
        |k| matches!(k, FaultKind::Invalid(_));
    blocks_race, [4, 32], 0, |d| vec![numbers(d, 1)], |k| race(k, Space::Global);
    missing_fence, [8, 1], 0,
        |d| vec![floats(d, 8), empty(d, 32), numbers(d, 1), empty(d, 4)],
        |k| race(k, Space::Global);
    narrow_fence, [8, 1], 0,
        |d| vec![floats(d, 8), empty(d, 32), numbers(d, 1), empty(d, 4)],
        |k| race(k, Space::Global);
    atomic_then_read, [1, 64], 0, |d| vec![numbers(d, 64)], |k| race(k, Space::Shared);
    missing_warp_sync, [1, 32], 0, |d| vec![floats(d, 32)], |k| race(k, Space::Shared);
    same_place, [1, 32], 0, |d| vec![empty(d, 128)], |k| race(k, Space::Global);
    flag_never_set, [2, 1], 0, |d| vec![numbers(d, 1)], waits_for_ever;
    runaway, [1, 1], 0, |d| vec![numbers(d, 1)], |k| matches!(k, FaultKind::Runaway(200_000));
    grid_barrier_left_out, [4, 64], 0, rounds, |k| race(k, Space::Global);
    grid_barrier_without_release, [4, 64], 0, rounds, |k| race(k, Space::Global);
    grid_barrier_without_acquire, [4, 64], 0, rounds, |k| race(k, Space::Global);
    grid_barrier_without_fences, [4, 64], 0, rounds, |k| race(k, Space::Global);
    grid_barrier_of_the_first_round, [4, 64], 0, rounds, |k| race(k, Space::Global);
    grid_barrier_reset, [4, 64], 0, rounds, waits_for_ever;
    grid_overwrites, [4, 64], 0, rounds, |k| race(k, Space::Global);
    grid_early_return, [4, 64], 0, |d| vec![numbers(d, 4), numbers(d, 2)], waits_for_ever;
    trapped, [1, 32], 0, |d| {
        let mut values: Vec<i32> = (0..32).collect();
        values[7] = -1;
        vec![Arg::pointer(upload(d, &values))]
    }, |k| matches!(k, FaultKind::Trap(_));
}

#[test]
fn use_after_free() {
    let (device, module) = (device(), module());
    let (x, y) = (upload(&device, &random(32, 1)), device.alloc(128).expect("room"));
    let arguments = [Arg::pointer(x), Arg::pointer(y)];
    run(&device, &module, "reads", [1, 32], &arguments).expect("live memory");
    device.free(x).expect("an allocation");
    let fault = run(&device, &module, "reads", [1, 32], &arguments).expect_err("freed memory");
    assert!(matches!(fault.kind, FaultKind::UseAfterFree { offset: 0, .. }), "{fault}");
    let site = fault.site.expect("a thread did it");
    assert_eq!(site.source, Some(("faults.cu".into(), marked("use_after_free"))));
    assert!(device.free(x).is_err(), "freed twice");
}

#[test]
fn launches_that_no_device_takes() {
    let (device, module) = (device(), module());
    let x = Arg::pointer(upload(&device, &random(32, 1)));
    let refused = |kernel: &str, shape: [u32; 2], arguments: &[Arg]| {
        let fault = run(&device, &module, kernel, shape, arguments).expect_err("refused");
        assert!(matches!(fault.kind, FaultKind::Launch(_)), "{fault}");
    };
    refused("nothing", [1, 32], &[]);
    refused("reads", [1, 32], std::slice::from_ref(&x));
    refused("reads", [1, 32], &[x.clone(), 1u32.into()]);
    refused("reads", [0, 32], &[x.clone(), x.clone()]);
    refused("reads", [1, 1025], &[x.clone(), x.clone()]);
    let together = |blocks| {
        let (grid, block) = ([blocks, 1, 1], [1, 1, 1]);
        let shape = Launch { grid, block, dynamic_shared: 0, cooperative: true };
        let y = Arg::pointer(device.alloc(128).expect("room"));
        device.launch(&module, "reads", shape, &[x.clone(), y])
    };
    together(1).expect("a block");
    let fault = together(1025).expect_err("more blocks than there is room for");
    assert!(matches!(fault.kind, FaultKind::Launch(_)), "{fault}");
}

/// Of the reads of other blocks one is remembered; in a cooperative launch, where blocks go on behind them, all are.
#[test]
fn a_write_races_with_each_reader() {
    let race = |cooperative: bool| {
        let device = device();
        let (grid, block) = ([4, 1, 1], [32, 1, 1]);
        let shape = Launch { grid, block, dynamic_shared: 0, cooperative };
        let arguments = [numbers(&device, 1), numbers(&device, 1), empty(&device, 16)];
        device.launch(&module(), "one_reader_unordered", shape, &arguments)
    };
    race(false).expect("the reads that are remembered are ordered");
    let fault = race(true).expect_err("one read is not");
    let FaultKind::Race { ref other, .. } = fault.kind else { panic!("{fault}") };
    assert_eq!((other.access, other.block), (Access::Read, 0));
}

#[test]
fn memory_has_an_end() {
    let device = Device::new(1 << 20);
    let first = device.alloc(1 << 19).expect("room");
    assert_eq!(first % 256, 0);
    let fault = device.alloc((1 << 19) + 1).expect_err("no room");
    assert!(matches!(fault.kind, FaultKind::OutOfMemory { .. }), "{fault}");
    device.free(first).expect("an allocation");
    assert_eq!(device.memory(), (1 << 20, 1 << 20));
    device.alloc(1 << 20).expect("room again");
}
