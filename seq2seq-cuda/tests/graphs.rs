//! Steps that come again are replayed as graphs: how often, counted at the driver; and that nobody can tell by the results,
//! whatever changes between steps and whoever else is decoding on the device, which is as late as can be.

mod common;
mod decoder;

use common::counting::{Counting, Counts};
use common::played::Graphs;
use common::{CHOICE, Played};
use decoder::{Decoder, Step};
use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::{
    Backend, Cell, Error, Format, HostTensor, LinearPart, Ragged, RecurrentOps, RecurrentSpec, TopK,
};
use seq2seq_cuda::{Cuda, CudaOptions};
use std::sync::Arc;

/// Memory of the device.
const BYTES: u64 = 1 << 26;

fn late() -> Played {
    Played::new(BYTES).late()
}

fn on(driver: Played, graphs: bool) -> (Cuda, Arc<Counting<Played>>) {
    let driver = Arc::new(Counting::new(driver));
    (Cuda::with_driver(driver.clone(), CudaOptions::default().graphs(graphs)), driver)
}

fn decode(
    cuda: &Cuda,
    format: Format,
    (sources, beams): (usize, usize),
    steps: &[Step],
) -> Vec<TopK> {
    let mut decoder = Decoder::new(cuda, format, sources, beams);
    steps.iter().map(|step| decoder.step(step, 4)).collect()
}

/// One source, then beams that part, swap and end; another source beside it, which ends before.
fn beams() -> Vec<Step> {
    let mut steps = vec![Step::prefill([3, 60]), Step::next([0, 0, 0, 1, 1, 1])];
    for _ in 0..3 {
        steps.push(Step::next([1, 0, 2, 3, 3, 4]));
        steps.push(Step::next([0, 1, 2, 3, 4, 5]));
        steps.push(Step::next([2, 2, 0, 5, 4, 3]));
    }
    steps.push(Step::next([0, 1, 2]));
    steps.extend((0..5).map(|_| Step::next([0, 2, 1])));
    steps
}

/// Lengths that differ; the sources end one after the other.
fn greedy() -> Vec<Step> {
    let mut steps = vec![Step::prefill([1, 30, 63])];
    steps.extend((0..5).map(|_| Step::next([0, 1, 2])));
    steps.extend((0..4).map(|_| Step::next([0, 1])));
    steps.push(Step::next([1]));
    steps.extend((0..4).map(|_| Step::next([0])));
    steps
}

/// A decoding of two sources to 95 positions, over the end of a page.
fn long() -> Vec<Step> {
    let mut steps = vec![Step::prefill([20, 31])];
    steps.extend((0..64).map(|_| Step::next([0, 1])));
    steps
}

#[test]
fn a_long_decoding_is_replayed() {
    let (cuda, driver) = on(late(), true);
    let mut decoder = Decoder::new(&cuda, Format::F32, 2, 1);
    let steps = long();
    let counts: Vec<Counts> =
        steps.iter().map(|step| driver.counts_of(|| decoder.step(step, 1)).1).collect();
    let graphs: usize = counts.iter().map(|c| c.graphs).sum();
    let replayed: Vec<_> = counts.iter().filter(|c| c.graph_runs > 0).collect();
    assert!(replayed.iter().all(|c| (c.graph_runs, c.launches) == (1, CHOICE)), "{counts:?}");
    // Before and behind the 64th position of one of them. Each list is launched singly once.
    assert_eq!((graphs, replayed.len()), (2, steps.len() - 1 - 2), "{counts:?}");
    assert!(counts.last().is_some_and(|c| c.graphs == 0 && c.allocations == 0));
}

#[test]
fn the_bits_are_those_of_single_launches() {
    for (format, steps, spread) in [
        (Format::F32, beams(), (2, 3)),
        (Format::Bf16, greedy(), (3, 1)),
        (Format::F16, greedy(), (3, 1)),
        (Format::Int8, beams(), (2, 3)),
        (Format::Int4, greedy(), (3, 1)),
    ] {
        let [replayed, singly] = [true, false].map(|graphs| {
            let (cuda, driver) = on(late(), graphs);
            let (found, counts) = driver.counts_of(|| decode(&cuda, format, spread, &steps));
            (found, counts.graph_runs)
        });
        assert_eq!(replayed.0, singly.0, "{format}");
        assert!(replayed.1 > steps.len() / 4 && singly.1 == 0, "{format}: {}", replayed.1);
    }
}

/// Memory that is not kept is given back to the driver, which sees whoever uses it later.
#[test]
fn a_step_holds_what_it_frees() {
    let driver = Arc::new(Played::new(BYTES));
    let watched = Cuda::with_driver(driver, CudaOptions::default().keep_memory(false));
    let (singly, _) = on(late(), false);
    let [a, b] = [&watched, &singly].map(|cuda| decode(cuda, Format::F32, (2, 3), &beams()));
    assert_eq!(a, b);
}

#[test]
fn decodings_that_take_turns_stay_apart() {
    let alone = [(Format::F32, greedy()), (Format::Bf16, greedy())]
        .map(|(format, steps)| decode(&on(late(), false).0, format, (3, 1), &steps));
    let (cuda, driver) = on(late(), true);
    let mut a = Decoder::new(&cuda, Format::F32, 3, 1);
    let mut b = Decoder::new(&cuda, Format::Bf16, 3, 1);
    let take_turns = || {
        let both = greedy().into_iter().map(|step| (a.step(&step, 4), b.step(&step, 4)));
        both.unzip::<TopK, TopK, Vec<_>, Vec<_>>()
    };
    let ((a, b), counts) = driver.counts_of(take_turns);
    assert_eq!([a, b], alone);
    assert!(counts.graph_runs > greedy().len(), "{counts:?}");
}

#[test]
fn decodings_of_several_threads_stay_apart() {
    let expected = decode(&on(late(), false).0, Format::F32, (2, 3), &beams());
    let (cuda, driver) = on(late(), true);
    let (found, counts) = driver.counts_of(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| decode(&cuda, Format::F32, (2, 3), &beams())))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        })
    });
    assert!(found.iter().all(|found| *found == expected));
    assert!(counts.graph_runs > 0, "{counts:?}");
}

#[test]
fn a_graph_that_fails_is_an_error() {
    let (cuda, _) = on(late().graphs(Graphs::Fail), true);
    let mut decoder = Decoder::new(&cuda, Format::F32, 3, 1);
    let error = greedy().iter().find_map(|step| decoder.try_step(step, 1).err());
    assert_eq!(error, Some(Error::Device { call: "run_graph".into(), reason: "it fails".into() }));
}

#[test]
fn without_graphs_kernels_are_launched() {
    let expected = decode(&on(late(), false).0, Format::F32, (3, 1), &greedy());
    for graphs in [Graphs::NoRoom, Graphs::Refuse] {
        let (cuda, driver) = on(late().graphs(graphs), true);
        let (found, counts) = driver.counts_of(|| decode(&cuda, Format::F32, (3, 1), &greedy()));
        assert_eq!((found, counts.graph_runs), (expected.clone(), 0), "{graphs:?}");
        // Each list asks once.
        assert!(counts.graphs < greedy().len() / 2, "{counts:?}");
    }
}

/// A recurrent layer, whose state goes from memory to memory: two lists that take turns.
#[test]
fn a_recurrent_step_is_replayed() {
    const WIDTH: usize = 8;
    let matrix = |rows: usize, seed| {
        let values = values(Profile::Normal, seed, rows * WIDTH);
        HostTensor::from_f32(vec![rows, WIDTH], &values).unwrap()
    };
    let gates = Cell::Gru.gates();
    let directions =
        vec![LinearPart { weight: matrix(gates * WIDTH, 1), bias: None, transposed: false }];
    let spec = RecurrentSpec { cell: Cell::Gru, directions };
    let [replayed, singly] = [true, false].map(|graphs| {
        let (cuda, driver) = on(late(), graphs);
        let layer = cuda.recurrent(&spec, Format::F32).unwrap();
        let sequences = 3;
        let one = Ragged::single_rows(sequences);
        let mut state = None;
        let (found, counts) = driver.counts_of(|| {
            let step = |i: u64| {
                let x = values(Profile::Normal, 10 + i, sequences * gates * WIDTH);
                let x = HostTensor::from_f32(vec![sequences, gates * WIDTH], &x).unwrap();
                let x = cuda.upload(&x).unwrap();
                let step = cuda.step(|| cuda.recur(&x, &one, &layer, state.as_ref()));
                let (y, end) = step.unwrap();
                state = Some(end);
                cuda.download(&y).unwrap()
            };
            (0..12).map(step).collect::<Vec<_>>()
        });
        (found, counts)
    });
    assert_eq!(replayed.0, singly.0);
    let (replayed, singly) = (replayed.1, singly.1);
    assert!(replayed.graph_runs >= 7 && replayed.graphs <= 2, "{replayed:?}");
    assert!(replayed.launches < singly.launches / 2, "{replayed:?}, {singly:?}");
}

fn rows(count: usize, value: f32) -> HostTensor {
    HostTensor::from_f32(vec![count, 8], &vec![value; count * 8]).unwrap()
}

/// A step of one gather of so many rows.
fn gather(cuda: &Cuda, count: usize) -> Vec<f32> {
    let x = cuda.upload(&rows(2, count as f32)).unwrap();
    let y = cuda.step(|| cuda.gather_rows(&x, &vec![1; count])).unwrap();
    cuda.download(&y).unwrap()
}

#[test]
fn graphs_are_few_and_go_with_the_device() {
    let driver = Arc::new(late());
    let cuda = Cuda::with_driver(driver.clone(), CudaOptions::default());
    for count in 1..100 {
        for _ in 0..3 {
            assert_eq!(gather(&cuda, count), vec![count as f32; count * 8]);
        }
    }
    assert_eq!(driver.graphs_held(), 32);
    // A tensor that outlives it keeps the memory, and no graph.
    let x = cuda.upload(&rows(2, 1.0)).unwrap();
    drop(cuda);
    assert_eq!(driver.graphs_held(), 0);
    drop(x);
}

/// What is downloaded in a step is there, and what comes behind it sees what came before.
#[test]
fn a_step_may_look_at_what_it_made() {
    let (cuda, driver) = on(late(), true);
    let x = cuda.upload(&rows(3, 2.0)).unwrap();
    for round in 0..3 {
        let (found, counts) = driver.counts_of(|| {
            cuda.step(|| {
                let y = cuda.gather_rows(&x, &[0, 1])?;
                let first = cuda.download(&y)?;
                let y = cuda.gather_rows(&y, &[1])?;
                // A step within it is a part of it.
                let y = cuda.step(|| cuda.gather_rows(&y, &[0, 0]))?;
                Ok::<_, Error>((first, cuda.download(&y)?))
            })
        });
        assert_eq!(found, Ok((vec![2.0; 16], vec![2.0; 16])));
        let runs = if round == 0 { (0, 3) } else { (2, 0) };
        assert_eq!((counts.graph_runs, counts.launches), runs, "round {round}");
    }
}

/// Whatever ends a step: what it asked for is done, and the next one is a step of its own.
#[test]
fn a_step_ends_with_an_error_or_a_panic() {
    let (cuda, driver) = on(late(), true);
    let x = cuda.upload(&rows(3, 2.0)).unwrap();
    let mut y = None;
    let ask = |y: &mut Option<_>| *y = Some(cuda.gather_rows(&x, &[2]).unwrap());
    let failed: Result<(), Error> = cuda.step(|| {
        ask(&mut y);
        Err(Error::invalid("test", "it ends here"))
    });
    assert_eq!(failed, Err(Error::invalid("test", "it ends here")));
    assert_eq!(cuda.download(y.as_ref().unwrap()).unwrap(), [2.0; 8]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cuda.step(|| -> Result<(), Error> {
            ask(&mut y);
            panic!("it ends here")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(cuda.download(y.as_ref().unwrap()).unwrap(), [2.0; 8]);
    let (_, counts) = driver.counts_of(|| cuda.gather_rows(&x, &[0]).unwrap());
    assert_eq!(counts.launches, 1, "outside of steps nothing is put off");
}

/// Where memory runs out within a step, what it has freed is had back.
#[test]
fn a_step_makes_room_from_what_it_freed() {
    let (cuda, _) = on(Played::new(1 << 20).late(), true);
    let x = cuda.upload(&rows(8, 3.0)).unwrap();
    let last = cuda.step(|| {
        let mut y = cuda.gather_rows(&x, &[0; 12000])?;
        // Each of another class, and with the one before more than half of the memory.
        for count in [10000, 8000, 16000, 7000, 18000] {
            y = cuda.gather_rows(&y, &vec![count / 4; count])?;
        }
        Ok::<_, Error>(y)
    });
    assert_eq!(cuda.download(&last.unwrap()).unwrap(), vec![3.0; 18000 * 8]);
}
