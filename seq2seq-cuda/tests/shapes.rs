//! Shapes that are beyond what the device counts are errors, and no panics. Asked of a driver's library of ours, which gives any memory
//! and does nothing, in a copy of this program.
#![cfg(target_os = "linux")]

mod common;

use common::library::{self, fake_driver, run};
use seq2seq_core::{
    Backend, ConvolutionOps, Error, Grid, HostTensor, NormKind, NormSpec, Rows, Windows,
};
use seq2seq_cuda::Cuda;

#[test]
fn child() {
    let Some(index) = library::index() else { return };
    let cuda = Cuda::new(index).expect("a driver's library that opens");
    let ones = |rows: usize, width: usize| {
        HostTensor::from_f32(vec![rows, width], &vec![1.0; rows * width]).unwrap()
    };
    let x = cuda.upload(&ones(1, 1)).unwrap();
    // So many windows of a line of one position, most of them in its padding; rows and taps are even together, or odd.
    let windows = |rows: usize, taps: usize| {
        let (kernel, padding) = ([1, taps], [0, (rows + taps) / 2 - 1]);
        let windows = Windows { kernel, stride: [1; 2], padding, dilation: [1; 2] };
        cuda.windows(&x, &[Grid::line(1)], &windows)
    };
    println!("rows: {:?}", windows((1 << 31) + 1, 1).err());
    let most = windows((1 << 31) - 1, 1).expect("as many as are counted");
    assert_eq!((most.rows(), most.width()), ((1 << 31) - 1, 1));
    println!("bytes: {:?}", windows((1 << 31) - 1, (1 << 31) - 1).err());
    // Runs of one column.
    let runs = windows(1 << 30, 4).expect("as many as are counted");
    let spec = NormSpec {
        kind: NormKind::Rms,
        eps: 1e-6,
        weight: HostTensor::from_f32(vec![1], &[1.0]).unwrap(),
        bias: None,
    };
    let norm = cuda.norm_weights(&spec).unwrap();
    println!("blocks: {:?}", cuda.norm(&runs, &norm).err());
}

#[test]
fn sizes_beyond_counting_are_errors() {
    let folder = fake_driver("shapes", &["--cfg", "opens"]);
    let settings = [("FAKE_CUDA_VERSION", "13000"), ("FAKE_CUDA_ROOM", "1")];
    let text = run(0, &folder, &settings);
    let said = |what: &str| {
        let line =
            text.lines().find_map(|l| l.split_once(what)).unwrap_or_else(|| panic!("{text}"));
        line.1.to_owned()
    };
    let refused = |what: &str, most: &str| {
        let (what, hint) = (what.into(), format!("up to {most} on this device"));
        format!("{:?}", Some(Error::Unsupported { what, hint }))
    };
    assert_eq!(said("rows: "), refused("a tensor of 2147483649 x 1", "2147483647 x 2147483647"));
    let blocks = "4294967296 x 1 x 1 blocks of norm_held";
    assert_eq!(said("blocks: "), refused(blocks, "2147483647 x 65535 x 65535"));
    assert!(said("bytes: ").starts_with("Some(Invalid"), "{text}");
}
