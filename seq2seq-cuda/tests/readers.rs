//! What gives rows to linear layers lays them out for them, once one has had to do it: a launch less for each, and the same bits.

mod common;

use common::Played;
use common::counting::Counting;
use common::tiles::{Product, Sizes};
use seq2seq_core::{Backend, Epilogue, Format, HostTensor, NormKind, NormSpec};
use seq2seq_cuda::{Cuda, CudaOptions};
use std::sync::Arc;

/// A device of Ampere, and one of Hopper.
fn devices() -> [Played; 2] {
    [Played::new(common::BYTES), Played::new(common::BYTES).hopper(132)]
}

fn norm_spec(kind: NormKind, width: usize) -> NormSpec {
    let values = |factor: usize| -> Vec<f32> {
        (0..width).map(|i| (i * factor % 101) as f32 / 50.0 - 0.7).collect()
    };
    let host = |values: Vec<f32>| HostTensor::from_f32(vec![width], &values).unwrap();
    let bias = (kind == NormKind::Layer).then(|| host(values(53)));
    NormSpec { kind, eps: 1e-6, weight: host(values(37)), bias }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Rows of a rest, columns of whole slabs and of a rest, and a width that is no multiple of 4.
#[test]
fn norms_lay_out_what_layers_read() {
    for driver in devices() {
        let driver = Arc::new(Counting::new(driver));
        let cuda = Cuda::with_driver(driver.clone(), CudaOptions::default().keep_memory(false));
        let kinds = [NormKind::Layer, NormKind::Rms].into_iter().cycle();
        for (format, kind) in Format::ALL.into_iter().zip(kinds) {
            for (rows, input) in [(9, 100), (21, 256), (16, 71)] {
                let product = Product::new(Sizes { rows, input, output: 40 });
                let layer = cuda.pack(&product.layer(false), format).unwrap();
                let norm = cuda.norm_weights(&norm_spec(kind, input)).unwrap();
                let x = cuda.upload(product.x()).unwrap();
                let mut run = || {
                    let normed = cuda.norm(&x, &norm).unwrap();
                    let both =
                        [0, 1].map(|_| cuda.linear(&normed, &layer, Epilogue::NONE).unwrap());
                    [&normed, &both[0], &both[1]].map(|y| bits(&cuda.download(y).unwrap()))
                };
                let (first, alone) = driver.counts_of(&mut run);
                let (second, at_once) = driver.counts_of(&mut run);
                let of = format!("{}, {format}, {rows} x {input}", cuda.describe());
                assert!(first == second && first[1] == first[2], "{of}");
                // Rows of f32 and f16 are laid out for each layer. Others are once, and then not at all.
                let launches = match format {
                    Format::F32 | Format::F16 => [5, 5],
                    _ => [4, 3],
                };
                assert_eq!([alone.launches, at_once.launches], launches, "{of}");
            }
        }
    }
}

/// NaN and infinity in a row, which quantised rows have no scale for, stay with their row.
#[test]
fn rows_that_are_not_finite_are_laid_out_alike() {
    let (rows, input) = (12, 96);
    for driver in devices() {
        let cuda = Cuda::with_driver(Arc::new(driver), CudaOptions::default().keep_memory(false));
        for format in [Format::Bf16, Format::Int8, Format::Int4] {
            let product = Product::new(Sizes { rows, input, output: 24 });
            let layer = cuda.pack(&product.layer(false), format).unwrap();
            let norm = cuda.norm_weights(&norm_spec(NormKind::Rms, input)).unwrap();
            let mut values = product.x().to_f32();
            values[3 * input + 5] = f32::NAN;
            values[10 * input] = f32::INFINITY;
            let x =
                cuda.upload(&HostTensor::from_f32(vec![rows, input], &values).unwrap()).unwrap();
            let run = || {
                let y =
                    cuda.linear(&cuda.norm(&x, &norm).unwrap(), &layer, Epilogue::NONE).unwrap();
                cuda.download(&y).unwrap()
            };
            let [first, second] = [run(), run()];
            assert_eq!(bits(&first), bits(&second), "{}, {format}", cuda.describe());
            let finite = |row: usize| second[row * 24..][..24].iter().all(|v| v.is_finite());
            assert!((0..rows).all(|row| finite(row) == ![3, 10].contains(&row)));
        }
    }
}

/// Few rows are read as they are, and so nobody lays them out.
#[test]
fn few_rows_stay_as_they_are() {
    for driver in devices() {
        let driver = Arc::new(Counting::new(driver));
        let cuda = Cuda::with_driver(driver.clone(), CudaOptions::default().keep_memory(false));
        let product = Product::new(Sizes { rows: 30, input: 64, output: 40 });
        let layer = cuda.pack(&product.layer(false), Format::Bf16).unwrap();
        let norm = cuda.norm_weights(&norm_spec(NormKind::Layer, 64)).unwrap();
        let through = |rows: usize| {
            let values = &product.x().to_f32()[..rows * 64];
            let x = cuda.upload(&HostTensor::from_f32(vec![rows, 64], values).unwrap()).unwrap();
            let work = || cuda.linear(&cuda.norm(&x, &norm).unwrap(), &layer, Epilogue::NONE);
            driver.counts_of(|| work().unwrap()).1.launches
        };
        assert_eq!([30, 30, 8, 9].map(through), [3, 2, 2, 2], "{}", cuda.describe());
    }
}
