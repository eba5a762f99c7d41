//! The graph that a driver is asked for: which nodes stand behind which, and by which edges. Asked of a driver's library of ours,
//! which has no GPU, in a copy of this program.
#![cfg(target_os = "linux")]

mod common;

use common::library::{self, fake_driver, run};
use seq2seq_cuda::driver::{Driver, FunctionId, Nvidia, Piece, Shape, Work};

/// Makes two graphs of the same work: kernels of which some overlap, and a fill.
#[test]
fn child() {
    let Some(index) = library::index() else { return };
    let driver = Nvidia::open(index).expect("a driver's library that opens");
    let (grid, block) = ([1; 3], [32, 1, 1]);
    let kernel = |overlaps| {
        let shape = Shape { grid, block, shared: 0, cooperative: false, overlaps };
        Piece::Launch { function: FunctionId(7), shape, args: &[] }
    };
    let fill = Piece::Fill { to: 256, value: 0, bytes: 4 };
    let mut work = Work::default();
    let pieces = [true, true, true, false, true].map(kernel);
    pieces.into_iter().chain([fill, kernel(true), kernel(true)]).for_each(|p| work.push(p));
    for _ in 0..2 {
        // SAFETY: there are no arguments, and nothing is run.
        let graph = unsafe { driver.graph(&work) }.expect("a graph").expect("room");
        driver.free_graph(graph).expect("a graph");
    }
}

/// What the library was asked for, but for what it calls the graphs.
fn asked(folder: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let folder = fake_driver(folder, &["--cfg", "opens"]);
    let text = run(0, &folder, &[&[("FAKE_CUDA_VERSION", "13000")], environment].concat());
    text.lines().filter_map(|l| l.split_once("fake: ")).map(|(_, l)| l.to_owned()).collect()
}

/// Nodes from `first` on, each behind the one before, and no other edge.
fn full(first: usize) -> Vec<String> {
    let kinds = ["kernel", "kernel", "kernel", "kernel", "kernel", "fill", "kernel", "kernel"];
    let mut lines = vec![format!("graph {}", first - 1)];
    lines.extend(kinds.iter().enumerate().map(|(i, kind)| {
        let before = if i == 0 { String::new() } else { (first + i - 1).to_string() };
        format!("{kind} {} behind [{before}]", first + i)
    }));
    lines.push(format!("ready {}", first + kinds.len()));
    lines
}

#[test]
fn kernels_that_overlap_are_joined_by_programmatic_edges() {
    let expected = [
        "graph 1",
        "kernel 2 behind []",
        "kernel 3 behind []",
        "edge 2 3, ports 1 0, type 1",
        "kernel 4 behind []",
        "edge 3 4, ports 1 0, type 1",
        // One that does not wait, on either side of it; then a fill.
        "kernel 5 behind [4]",
        "kernel 6 behind [5]",
        "fill 7 behind [6]",
        "kernel 8 behind [7]",
        "kernel 9 behind []",
        "edge 8 9, ports 1 0, type 1",
        "ready 10",
    ];
    assert_eq!(asked("edges", &[])[..expected.len()], expected);
}

/// A driver that refuses the first such edge is given none any more.
#[test]
fn where_they_are_refused_edges_are_full() {
    let refused =
        ["graph 1", "kernel 2 behind []", "kernel 3 behind []", "edge 2 3, ports 1 0, type 1"];
    let expected = [&refused.map(String::from)[..], &full(5), &full(15)].concat();
    assert_eq!(asked("no_edges", &[("FAKE_CUDA_EDGES", "0")]), expected);
}
