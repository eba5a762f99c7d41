//! Steps whose kernels may begin while those before them run: on a played GPU that looks at all they do before they wait. The bits
//! are those of kernels that do not overlap, and of single launches; and a kernel that does not wait is found.

mod common;
mod decoder;

use common::counting::Counting;
use common::{CHOICE, Played};
use decoder::{Decoder, Step, search};
use seq2seq_core::{Error, Format, TopK};
use seq2seq_cuda::{Cuda, CudaOptions};
use std::sync::Arc;

/// Memory of the device.
const BYTES: u64 = 1 << 26;

fn on(driver: Played, options: CudaOptions) -> (Cuda, Arc<Counting<Played>>) {
    let driver = Arc::new(Counting::new(driver));
    (Cuda::with_driver(driver.clone(), options), driver)
}

/// Two sources, over the end of a page; then beams that swap, of which one source is left in the end.
fn steps() -> Vec<Step> {
    let mut steps = vec![Step::prefill([61, 20]), Step::next([0, 0, 1, 1])];
    steps.extend((0..6).map(|_| Step::next([0, 1, 2, 3])));
    steps.extend((0..3).map(|_| Step::next([1, 0, 2, 2])));
    steps.extend((0..4).map(|_| Step::next([1, 0])));
    steps
}

fn decode(cuda: &Cuda, format: Format) -> Vec<TopK> {
    let mut decoder = Decoder::new(cuda, format, 2, 2);
    steps().iter().map(|step| decoder.step(step, 4)).collect()
}

fn options() -> CudaOptions {
    CudaOptions::default()
}

fn the_bits_are_those_of_kernels_apart(format: Format, device: fn() -> Played) {
    let found = [options(), options().overlap(false), options().graphs(false)].map(|options| {
        let (cuda, driver) = on(device(), options);
        let (found, counts) = driver.counts_of(|| decode(&cuda, format));
        (found, counts.graph_runs, driver.inner().overlapped())
    });
    let [(overlapped, runs, edges), apart, singly] = found;
    assert!(runs > 5 && edges > 20 * runs, "{format}: {edges} edges in {runs} runs");
    assert_eq!((&apart.0, apart.1, apart.2), (&overlapped, runs, 0), "{format}");
    assert_eq!((&singly.0, singly.1, singly.2), (&overlapped, 0, 0), "{format}");
}

#[test]
fn steps_on_hopper_have_the_bits_of_kernels_apart() {
    for format in Format::ALL {
        the_bits_are_those_of_kernels_apart(format, || Played::new(BYTES).late().hopper(4));
    }
}

/// Where bf16 is not multiplied by wgmma.
#[test]
fn steps_on_blackwell_have_the_bits_of_kernels_apart() {
    let blackwell = || Played::new(BYTES).late().blackwell().scheduled(5);
    the_bits_are_those_of_kernels_apart(Format::Bf16, blackwell);
}

/// Beams that are followed on the device: kernels overlap there, too, and what is chosen is what a search has that waits.
#[test]
fn beams_that_go_ahead_have_the_bits_of_those_that_wait() {
    for (format, width) in [(Format::F32, 2), (Format::Bf16, 4), (Format::Int8, 3)] {
        let hopper = || Played::new(BYTES).late().hopper(4);
        let (cuda, _) = on(hopper(), options().graphs(false));
        let waiting = search(&cuda, format, width, false);
        for options in [options(), options().overlap(false)] {
            let (cuda, driver) = on(hopper(), options);
            let (ahead, counts) = driver.counts_of(|| search(&cuda, format, width, true));
            assert_eq!(ahead, waiting, "{format}");
            assert!(counts.graph_runs > 4, "{format}: {counts:?}");
        }
    }
}

/// Of a step nothing stands apart: no copy, no fill, no kernel that does not wait.
#[test]
fn a_step_is_one_chain() {
    for format in Format::ALL {
        let (cuda, driver) = on(Played::new(BYTES).hopper(4), options());
        let mut decoder = Decoder::new(&cuda, format, 3, 1);
        let mut step = |step: Step| {
            let before = driver.inner().overlapped();
            let (_, counts) = driver.counts_of(|| decoder.step(&step, 1));
            (counts.launches, counts.graph_runs, driver.inner().overlapped() - before)
        };
        step(Step::prefill([3, 1, 9]));
        // Those before one is like the one before it are launched singly, as many kernels each.
        let mut steps = (0..4).map(|_| step(Step::next([0, 1, 2])));
        let (launches, _, edges) = steps.next().unwrap();
        assert_eq!(edges, 0, "{format}");
        let replayed = steps.find(|(_, runs, _)| *runs > 0);
        assert_eq!(replayed, Some((CHOICE, 1, launches - CHOICE - 1)), "{format}");
    }
}

#[test]
fn before_hopper_kernels_stay_apart() {
    let (cuda, driver) = on(Played::new(BYTES), options());
    let (_, counts) = driver.counts_of(|| decode(&cuda, Format::Int8));
    assert!(counts.graph_runs > 5);
    assert_eq!(driver.inner().overlapped(), 0);
}

/// What a decoding fails with on a device whose kernels have `text` in place of `right`.
fn failure(format: Format, [right, text]: [&'static str; 2]) -> String {
    let (cuda, _) = on(Played::new(BYTES).hopper(4).spoilt(right, text), options());
    let mut decoder = Decoder::new(&cuda, format, 2, 2);
    let error = steps().iter().find_map(|step| decoder.try_step(step, 4).err());
    let Some(Error::Device { call, reason }) = error else { panic!("{format}: {error:?}") };
    assert_eq!(call, "run_graph");
    reason
}

#[test]
fn a_kernel_that_does_not_wait_is_found() {
    for format in Format::ALL {
        // The very first kernel of all.
        let reason = failure(format, ["griddepcontrol.wait;", ""]);
        let expected = ["ends without griddepcontrol.wait", "| embed block (0,0,0)"];
        assert!(expected.iter().all(|text| reason.contains(text)), "{reason}");
    }
    // Of each block one thread waits, and the others do not.
    let one = "{.reg .pred one; .reg .b32 t; mov.u32 t, %tid.x; setp.eq.u32 one, t, 0; @one griddepcontrol.wait;}";
    let reason = failure(Format::F32, ["griddepcontrol.wait;", one]);
    let expected = "before griddepcontrol.wait; embed, which is before it in the chain and may still run, has a write there | norm_held";
    assert!(reason.contains(expected), "{reason}");
}
