//! A step of a decoding that does what the last one did takes no memory, waits for nothing but the ids that it chose,
//! copies nothing but by way of page-locked memory, and asks for its kernels at once, as a graph: counted at the driver. And page-locked memory is never written, nor
//! read, before the device is done with it: on a driver that does nothing before it is waited for, the bits are the same.

mod common;
mod decoder;

use common::counting::{Counting, Counts};
use common::{CHOICE, Played};
use decoder::{Decoder, Step};
use seq2seq_core::train::OptimiserOps;
use seq2seq_core::{Backend, DecoderOps, EncoderOps, Format, HostTensor, Pick, Ragged, Warp};
use seq2seq_cuda::{Cuda, CudaOptions};
use std::sync::Arc;

/// Memory of the device.
const BYTES: u64 = 1 << 26;

/// A backend that keeps its memory on a device that is as late as can be, and what counts its calls.
fn late() -> (Cuda, Arc<Counting<Played>>) {
    let driver = Arc::new(Counting::new(Played::new(BYTES).late()));
    (Cuda::with_driver(driver.clone(), CudaOptions::default()), driver)
}

/// Three sources that hold 61 positions after the first pass, so that the fourth step begins a page; then the second ends.
fn greedy() -> Vec<Step> {
    let mut steps = vec![Step::prefill([61, 61, 61])];
    steps.extend((0..6).map(|_| Step::next([0, 1, 2])));
    steps.push(Step::next([0, 2]));
    steps.extend((0..2).map(|_| Step::next([0, 1])));
    steps
}

/// The steps of `greedy` that do not do what the one before did: other rows, or a page more.
const UNLIKE: [usize; 4] = [0, 1, 4, 7];

/// Of the others, those that come again for the first time: they are made into a graph.
const AGAIN: [usize; 3] = [2, 5, 8];

#[test]
fn a_steady_step_waits_only_for_its_ids() {
    for format in Format::ALL {
        let (cuda, driver) = late();
        let mut decoder = Decoder::new(&cuda, format, 3, 1);
        for (i, step) in greedy().iter().enumerate() {
            let (_, counts) = driver.counts_of(|| decoder.step(step, 1));
            if UNLIKE.contains(&i) {
                continue;
            }
            // However many layers there are: ids, the tables of the cache, rules.
            let uploads = 3;
            let graphs = usize::from(AGAIN.contains(&i));
            let own =
                Counts { uploads, launches: CHOICE, graphs, graph_runs: 1, ..Counts::default() };
            assert_eq!(counts, Counts { waits: 1, downloads: 1, ..own }, "{format}, step {i}");
        }
    }
}

/// Where the step is asked for before the ids are known that it reads: nothing waits but who asks for the ids, and for them alone.
#[test]
fn a_step_that_is_asked_for_ahead_is_not_waited_for() {
    const ROWS: usize = 3;
    const STEPS: usize = 7;
    let uniforms: Vec<[f32; ROWS]> =
        (0..STEPS).map(|i| [0.1, 0.5, 0.9].map(|u| u + i as f32 * 0.01)).collect();
    let warp = Warp { top_k: 9, temperature: 1.5, ..Warp::default() };
    for drawn in [false, true] {
        let pick = |i: usize| match drawn {
            true => Pick::Draw { warp: &warp, uniforms: &uniforms[i] },
            false => Pick::Best,
        };
        // The same on a device that does each thing at once, each step behind its ids.
        let at_once = common::with_memory(BYTES);
        let mut decoder = Decoder::new(&at_once, Format::Bf16, ROWS, 1);
        let mut logits = decoder.read(&[61; ROWS]);
        let expected = (0..STEPS).map(|i| {
            let chosen = decoder.choose(&logits, &pick(i));
            let known = at_once.chosen(&chosen).unwrap();
            logits = decoder.go_on(&chosen);
            known
        });
        let expected: Vec<_> = expected.collect();
        let (cuda, driver) = late();
        let mut decoder = Decoder::new(&cuda, Format::Bf16, ROWS, 1);
        let first = decoder.read(&[61; ROWS]);
        let mut chosen = decoder.choose(&first, &pick(0));
        drop(first);
        for (i, expected) in expected.iter().enumerate() {
            let (logits, step) = driver.counts_of(|| decoder.go_on(&chosen));
            let (known, ids) = driver.counts_of(|| cuda.chosen(&chosen).unwrap());
            assert!(driver.inner().pending() > 0, "step {i} was waited for");
            assert_eq!(known, *expected, "step {i}");
            drop(chosen);
            let next = pick((i + 1).min(STEPS - 1));
            let (next, choice) = driver.counts_of(|| decoder.choose(&logits, &next));
            chosen = next;
            let none = Counts::default();
            assert_eq!(ids, Counts { waits: 1, ..none }, "step {i}");
            // Rules, and the numbers of draws; the draw is one kernel where there are two for the best.
            let (uploads, launches) = if drawn { (2, CHOICE - 1) } else { (1, CHOICE) };
            // What the rules of the choice before had lay in is the plan of the first step's cross-attention by now.
            let allocations = usize::from(i == 0);
            let own = Counts { allocations, uploads, launches, downloads: 1, ..none };
            assert_eq!(choice, own, "step {i}");
            assert_eq!((step.waits, step.downloads, step.blocking_copies), (0, 0, 0), "step {i}");
            // The first takes memory; the fourth begins a page, and the fifth, the first like another, is made into a graph.
            if i > 4 {
                // The tables of the cache, and no ids.
                assert_eq!(step, Counts { uploads: 1, graph_runs: 1, ..none }, "step {i}");
            }
        }
    }
}

/// Hypotheses of a beam search have tables that grow with each position, for which there is more memory now and then.
#[test]
fn a_step_of_a_beam_search_waits_only_for_its_ids() {
    let (cuda, driver) = late();
    let mut decoder = Decoder::new(&cuda, Format::F32, 2, 2);
    decoder.step(&Step::prefill([3, 5]), 2);
    decoder.step(&Step::next([0, 0, 1, 1]), 2);
    for step in 0..4 {
        let parents = [[0, 1, 2, 3], [1, 0, 2, 2], [0, 0, 3, 2], [1, 1, 2, 3]][step];
        let (_, counts) = driver.counts_of(|| decoder.step(&Step::next(parents), 2));
        let Counts { allocations, uploads, launches, graphs, graph_runs, .. } = counts;
        let own =
            Counts { allocations, uploads, launches, graphs, graph_runs, ..Counts::default() };
        assert_eq!(counts, Counts { waits: 1, downloads: 1, ..own }, "step {step}");
    }
}

/// Beams of which the host does not know yet who continues whom: the step is one graph, and what is uploaded for it was known
/// before. Who asks what was chosen waits, and for that alone.
#[test]
fn a_step_of_beams_that_is_asked_for_ahead_is_not_waited_for() {
    const WIDTH: usize = 3;
    const ROWS: usize = 2 * WIDTH;
    let spread = [0, 0, 0, 1, 1, 1];
    // The same on a device that does each thing at once, each step behind what the host knows.
    let at_once = common::with_memory(BYTES);
    let mut decoder = Decoder::new(&at_once, Format::Bf16, 2, WIDTH);
    let first = decoder.read(&[61; 2]);
    let mut logits = decoder.reorder(&spread, &first);
    let expected = (0..9).map(|i| {
        let picked = at_once.chosen(&decoder.choose_beams(&logits, WIDTH, i)).unwrap();
        logits = decoder.go_on_known(&picked);
        picked
    });
    let expected: Vec<_> = expected.collect();
    let parents: Vec<_> = expected.iter().filter_map(|picked| picked.parents()).collect();
    let stay: Vec<usize> = (0..ROWS).collect();
    assert!(
        parents.len() == 9 && parents.iter().filter(|p| **p != stay).count() > 6,
        "{parents:?}"
    );
    let (cuda, driver) = late();
    let mut decoder = Decoder::new(&cuda, Format::Bf16, 2, WIDTH);
    let first = decoder.read(&[61; 2]);
    let logits = decoder.reorder(&spread, &first);
    let mut chosen = decoder.choose_beams(&logits, WIDTH, 0);
    drop((first, logits));
    for (i, expected) in expected.iter().enumerate() {
        let (logits, step) = driver.counts_of(|| decoder.go_on(&chosen));
        let (known, ids) = driver.counts_of(|| cuda.chosen(&chosen).unwrap());
        assert!(driver.inner().pending() > 0, "step {i} was waited for");
        assert_eq!(known, *expected, "step {i}");
        drop(chosen);
        let (next, choice) = driver.counts_of(|| decoder.choose_beams(&logits, WIDTH, i + 1));
        chosen = next;
        let none = Counts::default();
        assert_eq!(ids, Counts { waits: 1, ..none }, "step {i}");
        // Rules, scores, and the ids that end; the sums come first, and then who goes on.
        let own = Counts { uploads: 2, launches: CHOICE + 2, downloads: 1, ..none };
        assert_eq!(Counts { allocations: 0, ..choice }, own, "step {i}");
        assert_eq!((step.waits, step.downloads, step.blocking_copies), (0, 0, 0), "step {i}");
        // The first takes memory; the fourth begins a page, and the fifth, the first like another, is made into a graph.
        if i > 4 {
            assert_eq!(step, Counts { uploads: 1, graph_runs: 1, ..none }, "step {i}");
            assert_eq!(choice, own, "step {i}");
        }
    }
}

/// One layer after another attends within the same rows: what the first has uploaded does for the others.
#[test]
fn layers_share_the_plan_of_their_rows() {
    let (cuda, driver) = late();
    let spec = common::attend::spec(32);
    let x = common::attend::rows(&spec, 75);
    let x = HostTensor::from_f32(vec![75, spec.qkv_width()], &x).unwrap();
    let (x, rows) = (cuda.upload(&x).unwrap(), Ragged::from_lengths([70, 5]));
    let attend = || cuda.attend(&x, &rows, &spec, None).unwrap();
    let first = cuda.download(&attend()).unwrap();
    let (y, counts) = driver.counts_of(attend);
    assert_eq!(counts, Counts { launches: 2, ..Counts::default() });
    assert_eq!(cuda.download(&y).unwrap(), first);
}

#[test]
fn late_or_at_once_the_bits_are_the_same() {
    let at_once = common::with_memory(BYTES);
    let (late, _) = late();
    let [a, b] = [&at_once, &late].map(|cuda| {
        let mut decoder = Decoder::new(cuda, Format::Bf16, 3, 1);
        greedy().iter().map(|step| decoder.step(step, 4)).collect::<Vec<_>>()
    });
    assert_eq!(a, b);
}

/// The ring goes round many times before anybody waits for a result.
#[test]
fn uploads_do_not_overtake_the_device() {
    let (cuda, driver) = late();
    let rows = |i: usize| vec![i as f32; 100 * (i % 7 + 1) * 32];
    let (tensors, counts) = driver.counts_of(|| {
        let upload = |i: usize| {
            let values = rows(i);
            cuda.upload(&HostTensor::from_f32(vec![values.len() / 32, 32], &values).unwrap())
        };
        (0..120).map(|i| upload(i).unwrap()).collect::<Vec<_>>()
    });
    for (i, x) in tensors.iter().enumerate() {
        assert!(cuda.download(x).unwrap() == rows(i), "upload {i} was written over");
    }
    assert_eq!((counts.uploads, counts.blocking_copies, counts.synchronisations), (120, 0, 0));
    assert!(counts.waits >= 2 * 4, "{counts:?}: round at least twice");
}

/// Slots of downloads are not shared by threads that wait at the same time.
#[test]
fn threads_read_what_they_asked_for() {
    let (cuda, _) = late();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cuda = &cuda;
            scope.spawn(move || {
                for i in 0..50 {
                    let values = vec![(thread * 1000 + i) as f32; 64];
                    let x = cuda.upload(&HostTensor::from_f32(vec![2, 32], &values).unwrap());
                    assert_eq!(cuda.download(&x.unwrap()).unwrap(), values);
                }
            });
        }
    });
}

/// However many parameters there are, the norm of their gradients is one copy to the host.
#[test]
fn a_norm_of_gradients_waits_once() {
    let (cuda, driver) = late();
    let tensor = |i: usize| {
        let values: Vec<f32> = (0..(i + 1) * 40).map(|n| n as f32 / 7.0 - 3.0).collect();
        cuda.upload(&HostTensor::from_f32(vec![i + 1, 40], &values).unwrap()).unwrap()
    };
    let gradients: Vec<_> = (0..30).map(tensor).collect();
    let all: Vec<_> = gradients.iter().collect();
    let alone: Vec<f64> = all.iter().map(|x| cuda.sums_of_squares(&[x]).unwrap()[0]).collect();
    let (sums, counts) = driver.counts_of(|| cuda.sums_of_squares(&all).unwrap());
    assert_eq!(sums, alone);
    assert_eq!((counts.waits, counts.downloads, counts.synchronisations), (1, 1, 0));
    assert_eq!(counts.launches, all.len());
}
