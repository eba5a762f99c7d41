//! Recurrent layers whose weights stay on the chip: which layers do, that the bits are those of a kernel a position, and that
//! blocks which wait for each other are asked for together.

mod common;

use common::counting::Counting;
use common::recurrent::{Case, host};
use common::{BYTES, Played};
use seq2seq_core::{Backend, Cell, Format, RecurrentOps};
use seq2seq_cuda::driver::{Arg, Driver, Image, Shape};
use seq2seq_cuda::{Cuda, CudaOptions};
use std::sync::Arc;

fn ragged(count: usize, lengths: &[usize]) -> Vec<usize> {
    (0..count).map(|i| lengths[i % lengths.len()]).collect()
}

/// Units that a block lacks, tiles that are not full, several chunks; more sequences than a block takes at once, in groups and in
/// turns, of 8 units and of 16.
#[test]
fn on_the_chip_the_bits_are_the_same() {
    for cell in Cell::ALL {
        for format in [Format::F32, Format::F16, Format::Bf16] {
            let case =
                |width, directions, lengths| Case { cell, format, width, directions, lengths };
            let many = case(37, 2, ragged(60, &[3, 1, 4, 0, 5, 2]));
            many.has_the_bits_of_a_kernel_a_position(132, 0..2);
            many.has_the_bits_of_a_kernel_a_position(2, 1..2);
            case(260, 1, vec![2, 4, 3]).has_the_bits_of_a_kernel_a_position(132, 1..2);
        }
        let case = Case {
            cell,
            format: Format::Bf16,
            width: 56,
            directions: 1,
            lengths: ragged(200, &[1, 2]),
        };
        case.has_the_bits_of_a_kernel_a_position(7, 1..2);
    }
}

/// Nine chunks for eight warps.
#[test]
fn more_chunks_than_warps() {
    let (cell, format) = (Cell::Gru, Format::Bf16);
    let case = Case { cell, format, width: 1030, directions: 1, lengths: vec![2, 1] };
    case.has_the_bits_of_a_kernel_a_position(132, 0..1);
}

/// On the way back too, which is there in bf16: in groups and in turns, several chunks, and more of them than warps.
#[test]
fn on_the_way_back_the_bits_are_the_same() {
    for cell in Cell::ALL {
        let case = |width, directions, lengths| Case {
            cell,
            format: Format::Bf16,
            width,
            directions,
            lengths,
        };
        let many = case(37, 2, ragged(60, &[3, 1, 4, 0, 5, 2]));
        many.has_the_bits_of_a_kernel_a_position_back(132, 0..2);
        many.has_the_bits_of_a_kernel_a_position_back(2, 1..2);
        case(100, 1, vec![1, 3, 0, 4]).has_the_bits_of_a_kernel_a_position_back(132, 1..2);
    }
    let (cell, format) = (Cell::Lstm, Format::Bf16);
    let case = Case { cell, format, width: 520, directions: 1, lengths: vec![2, 1] };
    case.has_the_bits_of_a_kernel_a_position_back(132, 0..1);
}

/// Whatever comes beside it, and however it is cut: on mma.sync and, with weights as wgmma has them, on Hopper.
#[test]
fn a_sequence_has_one_set_of_bits() {
    for hopper in [false, true] {
        let played = Played::new(BYTES).multiprocessors(132).scheduled(1);
        let played = if hopper { played.hopper(132) } else { played };
        let cuda = Cuda::with_driver(Arc::new(played), CudaOptions::default());
        for (cell, format) in
            [(Cell::Lstm, Format::F32), (Cell::Lstm, Format::F16), (Cell::Gru, Format::Bf16)]
        {
            let case =
                Case { cell, format, width: 70, directions: 1, lengths: ragged(40, &[2, 5, 1]) };
            case.sequences_have_the_same_bits(&cuda, &[0, 1, 38]);
        }
    }
}

/// By the shape of the layer and the device, in formats that have a kernel; whatever the rows are.
#[test]
fn what_fits_is_on_the_chip() {
    let case =
        |format, width, lengths| Case { cell: Cell::Lstm, format, width, directions: 1, lengths };
    let few = |multiprocessors| Played::new(BYTES).multiprocessors(multiprocessors);
    for lengths in [vec![1], vec![2, 0, 2], vec![1; 40]] {
        assert!(case(Format::Bf16, 72, lengths.clone()).is_on_the_chip(few(3)));
        // Nine blocks of 38 KB each, four to a multiprocessor; or five of 76 KB, two to one.
        assert!(!case(Format::Bf16, 72, lengths.clone()).is_on_the_chip(few(2)));
        assert!(!case(Format::Int8, 72, lengths).is_on_the_chip(few(132)));
    }
    // 160 KB of weights in each block.
    assert!(!case(Format::F32, 1280, vec![1]).is_on_the_chip(few(132)));
    // 16 blocks of 48 KB each, three to a multiprocessor; in f32 of 56 KB, two to one.
    assert!(case(Format::F16, 128, vec![1]).is_on_the_chip(few(6)));
    assert!(!case(Format::F32, 128, vec![1]).is_on_the_chip(few(6)));
}

/// One position needs no barrier, so that a step of a decoding is replayed; blocks that wait for each other never are.
#[test]
fn steps_are_replayed_and_sequences_are_not() {
    for (length, graphs) in [(1, true), (2, false)] {
        let driver = Arc::new(Counting::new(Played::new(1 << 26).late()));
        let cuda = Cuda::with_driver(driver.clone(), CudaOptions::default());
        let case = Case {
            cell: Cell::Gru,
            format: Format::Bf16,
            width: 24,
            directions: 1,
            lengths: vec![length; 3],
        };
        let layer = cuda.recurrent(&case.spec(), case.format).unwrap();
        let rows = case.rows();
        let (found, counts) = driver.counts_of(|| {
            let step = |_| {
                let x = cuda.upload(&host(9, rows.rows(), 3 * case.width, 1.0)).unwrap();
                let (y, _) = cuda.step(|| cuda.recur(&x, &rows, &layer, None)).unwrap();
                cuda.download(&y).unwrap()
            };
            (0..6).map(step).collect::<Vec<_>>()
        });
        assert!(found.iter().all(|y| *y == found[0]));
        assert_eq!((counts.graphs > 0, counts.graph_runs > 0), (graphs, graphs), "{counts:?}");
    }
}

/// Without any one of the barrier's orders, blocks race for h.
#[test]
fn each_order_of_the_barrier_is_needed() {
    let case = |format, sequences| {
        let lengths = ragged(sequences, &[3, 2]);
        Case { cell: Cell::Gru, format, width: 40, directions: 1, lengths }
    };
    for (case, kernel) in [
        (case(Format::Bf16, 2), "recur_gru_bf16_8_units"),
        (case(Format::Bf16, 40), "recur_gru_bf16_16_units"),
        (case(Format::F32, 40), "recur_gru_f32_16_units"),
    ] {
        for (right, wrong) in [
            ("atom.acq_rel.gpu", "atom.acquire.gpu"),
            ("atom.acq_rel.gpu", "atom.release.gpu"),
            ("st.release.gpu", "st.relaxed.gpu"),
            ("ld.acquire.gpu", "ld.relaxed.gpu"),
        ] {
            for seed in 0..2 {
                let played = || Played::new(BYTES).multiprocessors(132).scheduled(seed);
                case.run(played());
                let error = case.try_run(played().spoilt(right, wrong)).unwrap_err().to_string();
                assert!(error.contains("race") && error.contains(kernel), "{wrong}: {error}");
            }
        }
    }
    // The way forward of one position has no barrier, the way back has.
    let case = Case { lengths: vec![1; 3], ..case(Format::Bf16, 0) };
    case.try_back(Played::new(BYTES)).unwrap();
    let spoilt = Played::new(BYTES).spoilt("ld.acquire.gpu", "ld.relaxed.gpu");
    let error = case.try_back(spoilt).unwrap_err().to_string();
    assert!(error.contains("race") && error.contains("recur_gru_back_bf16"), "{error}");
}

/// A grid that is not resident as a whole would wait for ever.
#[test]
fn a_grid_that_is_not_resident_is_refused() {
    let driver = Played::new(1 << 20);
    let ptx = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry nothing(.param .u32 x) { ret; }";
    let module = driver.load("nothing", Image::Ptx(ptx)).unwrap();
    let kernel = driver.function(module, "nothing", 80 << 10).unwrap();
    let launch = |blocks, cooperative| {
        let shape = Shape {
            grid: [blocks, 1, 1],
            block: [256, 1, 1],
            shared: 80 << 10,
            cooperative,
            overlaps: false,
        };
        // SAFETY: the kernel takes one number.
        unsafe { driver.launch(kernel, shape, &[Arg::from(1u32)]) }
    };
    assert_eq!(driver.resident_blocks(kernel, 256, 80 << 10), Ok(8));
    launch(8, true).unwrap();
    launch(9, false).unwrap();
    let refused = launch(9, true).unwrap_err().to_string();
    assert!(refused.contains("9 blocks together"), "{refused}");
}
