//! Chains of kernels that may begin while those before them run: right ones pass, and in each wrong one the thread is named that
//! did not wait.

use crate::host::{device, download, random, upload};
use seq2seq_ptx::{Access, Arg, Call, Device, Fault, FaultKind, Launch, Module};

const SOURCE: &str = include_str!("../kernels/overlap.cu");
const SHAPE: Launch =
    Launch { grid: [3, 1, 1], block: [64, 1, 1], dynamic_shared: 0, cooperative: false };
const COUNT: usize = 3 * 64;

fn module() -> Module {
    Module::parse("overlap.ptx", include_str!("../kernels/overlap.ptx")).expect("PTX of nvcc")
}

/// What the kernels are given.
struct Setting {
    device: Device,
    w: Arg,
    x: Arg,
    y: Arg,
    z: Arg,
    result: u64,
}

impl Setting {
    fn new(seed: u64) -> Self {
        let device = device();
        device.set_schedule(seed);
        let buffer = |seed| upload(&device, &random(COUNT, seed));
        let [w, x, y, z] = [1, 2, 3, 4].map(buffer);
        let [w, x, z] = [w, x, z].map(Arg::pointer);
        Self { w, x, y: Arg::pointer(y), z, result: y, device }
    }

    /// `first`, `between`, then `last`, in a chain; or the last of them behind its end.
    fn run(&self, last: &str, apart: bool) -> Result<(), Fault> {
        let module = module();
        let call = |kernel, arguments| Call { module: &module, kernel, shape: SHAPE, arguments };
        let [w, x, y, z] = [&self.w, &self.x, &self.y, &self.z].map(Clone::clone);
        let (first, between) = ([w.clone(), y.clone(), x.clone()], [w.clone(), z]);
        let multiply = [w, x, y];
        let calls = [call("first", &first), call("between", &between), call(last, &multiply)];
        match apart {
            false => self.device.chain(&calls),
            true => {
                self.device.chain(&calls[..2])?;
                self.device.launch(&module, last, SHAPE, &multiply)
            }
        }
    }
}

#[test]
fn what_waits_passes() {
    for seed in 0..4 {
        let setting = Setting::new(seed);
        setting.run("right", false).unwrap_or_else(|fault| panic!("{fault}"));
        let (w, y) = (random(COUNT, 1), random(COUNT, 3));
        let expected: Vec<f32> = w.iter().zip(&y).map(|(w, y)| w * (2.0 * w + y)).collect();
        assert_eq!(download::<f32>(&setting.device, setting.result, COUNT), expected);
    }
}

/// The line of the source that is marked with a name.
fn marked(name: &str) -> u32 {
    let found = |l: &str| l.split("// FAULT ").nth(1).is_some_and(|rest| rest.trim() == name);
    1 + SOURCE.lines().position(found).expect("a marked line") as u32
}

#[test]
fn what_does_not_wait_is_found() {
    use Access::{Atomic, Read, Write};
    for seed in 0..4 {
        for (name, tried, there) in [
            ("reads", Read, Write),
            ("copies", Read, Write),
            ("writes_read", Write, Read),
            ("writes_written", Write, Write),
            ("adds", Atomic, Write),
            ("other_waits", Read, Write),
        ] {
            let fault = Setting::new(seed).run(name, false).expect_err(name);
            let FaultKind::BeforeWait { access, other, earlier, .. } = &fault.kind else {
                panic!("{name}, seed {seed}: {fault}")
            };
            // Two kernels before, and not the one between.
            assert_eq!((*access, *other, earlier.as_str()), (tried, there, "first"), "{fault}");
            let site = fault.site.expect("a thread did it");
            assert_eq!((site.kernel.as_str(), site.module.as_str()), (name, "overlap.ptx"));
            assert_eq!(site.source, Some(("overlap.cu".into(), marked(name))), "{name}");
        }
    }
}

/// Behind the end of a chain nothing of it runs.
#[test]
fn what_stands_alone_need_not_wait() {
    for name in ["reads", "copies", "writes_written", "some_leave"] {
        Setting::new(0).run(name, true).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    }
}

#[test]
fn a_block_that_leaves_without_waiting_is_found() {
    for seed in 0..4 {
        let fault = Setting::new(seed).run("some_leave", false).expect_err("block 1");
        assert_eq!(fault.kind, FaultKind::EndsWithoutWait);
        assert_eq!(fault.site.expect("a block").block, [1, 0, 0]);
    }
}

/// A hint, which has to be one of bytes that are there.
#[test]
fn a_prefetch_past_the_end_is_found() {
    let fault = Setting::new(0).run("prefetches_too_far", true).expect_err("past the end");
    assert!(matches!(fault.kind, FaultKind::OutOfBounds { bytes: 4096, .. }), "{fault}");
    assert_eq!(fault.site.and_then(|s| s.source).map(|s| s.1), Some(marked("prefetches_too_far")));
}
