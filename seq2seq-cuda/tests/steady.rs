//! A step that does what the last one did allocates nothing.

mod common;

use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::{
    Activation, Backend, Epilogue, Format, HostTensor, LinearSpec, Lookup, NormKind, NormSpec,
};
use seq2seq_cuda::{Cuda, CudaOptions};
use std::sync::Arc;

const WIDTH: usize = 64;

fn matrix(rows: usize, seed: u64) -> HostTensor {
    HostTensor::from_f32(vec![rows, WIDTH], &values(Profile::Normal, seed, rows * WIDTH)).unwrap()
}

#[test]
fn a_second_step_allocates_nothing() {
    let driver = Arc::new(common::Played::new(1 << 26));
    let cuda = Cuda::with_driver(driver.clone(), CudaOptions::default());
    let ones = HostTensor::from_f32(vec![WIDTH], &[1.0; WIDTH]).unwrap();
    let spec = NormSpec { kind: NormKind::Rms, eps: 1e-6, weight: ones, bias: None };
    let (norm, table) =
        (cuda.norm_weights(&spec).unwrap(), cuda.embedding(&matrix(10, 1)).unwrap());
    for format in Format::ALL {
        let layer = cuda.pack(&LinearSpec::single(matrix(WIDTH, 2), None), format).unwrap();
        let step = |ids: [u32; 3]| {
            let x = cuda.embed(&[Lookup { table: &table, ids: &ids, scale: 1.0 }]).unwrap();
            let y = cuda.norm(&x, &norm).unwrap();
            let y = cuda.linear(&y, &layer, Epilogue::activation(Activation::Relu)).unwrap();
            let y = cuda.linear(&y, &layer, Epilogue::residual(&x)).unwrap();
            cuda.download(&y).unwrap()
        };
        let first = step([1, 2, 3]);
        let allocated = driver.allocations();
        let second = step([1, 2, 3]);
        assert_eq!(driver.allocations(), allocated, "{format}");
        assert_eq!(first, second, "{format}");
    }
}
