//! What gives rows to linear layers lays them out for them, once one has had to do it: a launch less for each, and the same bits.

mod common;

use common::Played;
use common::attend::{self, spec};
use common::counting::Counting;
use common::tiles::{Product, Sizes};
use seq2seq_core::{
    AttentionSpec, Backend, CrossAttentionOps, EncoderOps, Epilogue, Format, HostTensor, NormKind,
    NormSpec, Precision, Ragged,
};
use seq2seq_cuda::{Cuda, CudaOptions, Tensor};
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

/// Attention, and an output layer in bf16 behind it, twice: with the same bits, and in the second run `spared` launches less.
fn output_layers_read(
    attend: impl Fn(&Cuda) -> Tensor,
    spec: &AttentionSpec,
    (spared, of): (usize, &str),
) {
    let inner = spec.inner();
    for driver in devices() {
        let driver = Arc::new(Counting::new(driver));
        let cuda = Cuda::with_driver(driver.clone(), CudaOptions::default().keep_memory(false));
        let output = Product::new(Sizes { rows: 1, input: inner, output: 24 }).layer(false);
        let output = cuda.pack(&output, Format::Bf16).unwrap();
        let mut run = || {
            let y = attend(&cuda);
            let z = cuda.linear(&y, &output, Epilogue::NONE).unwrap();
            [&y, &z].map(|t| bits(&cuda.download(t).unwrap()))
        };
        let (first, alone) = driver.counts_of(&mut run);
        let (second, at_once) = driver.counts_of(&mut run);
        assert!(first == second, "{}, {of}", cuda.describe());
        assert_eq!(alone.launches - at_once.launches, spared, "{}, {of}", cuda.describe());
    }
}

fn upload(cuda: &Cuda, values: &[f32], width: usize) -> Tensor {
    let shape = vec![values.len() / width, width];
    cuda.upload(&HostTensor::from_f32(shape, values).unwrap()).unwrap()
}

/// Whole sequences, whose tiles are high and low; a rest of rows that fills no tile of the layer, and none.
#[test]
fn attention_lays_out_what_output_layers_read() {
    for (width, lengths) in [
        (32, &[97, 3][..]),
        (64, &[150, 1, 0, 70]),
        (64, &[16]),
        (128, &[70]),
        (96, &[9]),
        (256, &[10]),
    ] {
        let spec = spec(width);
        let rows = Ragged::from_lengths(lengths.iter().copied());
        let x = attend::rows(&spec, rows.rows());
        let attend = |cuda: &Cuda| {
            cuda.attend(&upload(cuda, &x, spec.qkv_width()), &rows, &spec, None).unwrap()
        };
        output_layers_read(attend, &spec, (1, &format!("{width} columns, {lengths:?}")));
    }
}

/// Single rows over a memory: of sources within a chunk and across three, which are merged, and of none.
#[test]
fn steps_lay_out_what_output_layers_read() {
    let lengths = [30, 150, 0, 65];
    for width in [32, 64, 128, 256] {
        let spec = AttentionSpec { causal: false, ..spec(width) };
        let sources = Ragged::from_lengths(lengths);
        let kv =
            attend::rows(&spec, sources.rows())[..sources.rows() * 2 * spec.kv_width()].to_vec();
        for of in [
            &[0usize, 0, 0, 1, 1, 2, 3, 3, 1][..],
            &[1, 2, 1, 0, 3, 3, 3, 3, 0, 0, 0, 0, 2, 2, 2, 2],
        ] {
            let q = &attend::rows(&spec, of.len())[..of.len() * spec.inner()];
            let attend = |cuda: &Cuda| {
                let kv = upload(cuda, &kv, 2 * spec.kv_width());
                let memory = cuda.memory(&kv, &sources, &spec).unwrap();
                let (q, rows) = (upload(cuda, q, spec.inner()), Ragged::single_rows(of.len()));
                cuda.cross_attend(&q, &rows, &memory, of, &spec, None).unwrap()
            };
            output_layers_read(attend, &spec, (1, &format!("{width} columns, {of:?}")));
        }
    }
}

/// Heads that are no whole eights, few rows and f32 are read as before.
#[test]
fn other_attention_is_laid_out_by_the_layer() {
    let f32 = AttentionSpec { precision: Precision::F32, ..spec(64) };
    for (spec, rows) in [(spec(20), 20), (spec(64), 8), (f32, 20)] {
        let x = attend::rows(&spec, rows);
        let attend = |cuda: &Cuda| {
            let rows = Ragged::from_lengths([rows]);
            cuda.attend(&upload(cuda, &x, spec.qkv_width()), &rows, &spec, None).unwrap()
        };
        output_layers_read(attend, &spec, (0, &format!("{spec:?}")));
    }
}
