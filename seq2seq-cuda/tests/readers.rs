//! What gives rows to linear layers lays them out for them, once one has had to do it: a launch less for each, and the same bits.

mod common;

use common::Played;
use common::counting::Counting;
use common::readers::{Attended, Bits, Normed, norm_spec, upload};
use common::tiles::{Product, Sizes};
use seq2seq_core::train::{MasterPart, Masters, TrainBackend, TrainEpilogue};
use seq2seq_core::{Backend, Epilogue, Format, NormKind};
use seq2seq_cuda::{Cuda, CudaOptions};
use std::sync::Arc;

/// A device of Ampere, and one of Hopper.
fn devices() -> [(Cuda, Arc<Counting<Played>>); 2] {
    [Played::new(common::BYTES), Played::new(common::BYTES).hopper(132)].map(|driver| {
        let driver = Arc::new(Counting::new(driver));
        (Cuda::with_driver(driver.clone(), CudaOptions::default().keep_memory(false)), driver)
    })
}

/// The launches of two runs, which have to give the same.
fn launches(driver: &Counting<Played>, run: impl Fn() -> Bits, of: &str) -> [usize; 2] {
    let [(first, alone), (second, at_once)] = [0, 1].map(|_| driver.counts_of(&run));
    assert!(first == second, "{of}");
    [alone.launches, at_once.launches]
}

#[test]
fn norms_lay_out_what_layers_read() {
    for (cuda, driver) in devices() {
        for case in Normed::cases() {
            // Rows of f32 and f16 are laid out for each layer. Others are once, and then not at all.
            let expected = match case.format {
                Format::F32 | Format::F16 => [5, 5],
                _ => [4, 3],
            };
            let of = format!("{}, {case:?}", cuda.describe());
            assert_eq!(launches(&driver, case.on(&cuda), &of), expected, "{of}");
        }
    }
}

/// Of each case the second run has `spared` launches less.
fn attention_spares(spared: usize, cases: impl IntoIterator<Item = Attended>) {
    for case in cases {
        for (cuda, driver) in devices() {
            let of = format!("{}, {case:?}", cuda.describe());
            let [alone, at_once] = launches(&driver, case.clone().on(&cuda), &of);
            assert_eq!(alone - at_once, spared, "{of}");
        }
    }
}

#[test]
fn attention_lays_out_what_output_layers_read() {
    attention_spares(1, Attended::cases());
}

#[test]
fn other_attention_is_laid_out_by_the_layer() {
    attention_spares(0, Attended::others());
}

/// NaN and infinity in a row, which quantised rows have no scale for, stay with their row.
#[test]
fn rows_that_are_not_finite_are_laid_out_alike() {
    let (rows, input, output) = (12, 96, 24);
    for (cuda, _) in devices() {
        for format in [Format::Bf16, Format::Int8, Format::Int4] {
            let product = Product::new(Sizes { rows, input, output });
            let layer = cuda.pack(&product.layer(false), format).unwrap();
            let norm = cuda.norm_weights(&norm_spec(NormKind::Rms, input)).unwrap();
            let mut values = product.x().to_f32();
            values[3 * input + 5] = f32::NAN;
            values[10 * input] = f32::INFINITY;
            let x = upload(&cuda, &values, input);
            let run = || {
                let y = cuda.linear(&cuda.norm(&x, &norm).unwrap(), &layer, Epilogue::NONE);
                cuda.download(&y.unwrap()).unwrap()
            };
            let [first, second] = [run(), run()];
            let same = first.iter().zip(&second).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{}, {format}", cuda.describe());
            let finite =
                |row: usize| second[row * output..][..output].iter().all(|v| v.is_finite());
            assert!((0..rows).all(|row| finite(row) != [3, 10].contains(&row)));
        }
    }
}

/// Few rows are read as they are, and so nobody lays them out.
#[test]
fn few_rows_stay_as_they_are() {
    for (cuda, driver) in devices() {
        let product = Product::new(Sizes { rows: 30, input: 64, output: 40 });
        let layer = cuda.pack(&product.layer(false), Format::Bf16).unwrap();
        let norm = cuda.norm_weights(&norm_spec(NormKind::Layer, 64)).unwrap();
        let through = |rows: usize| {
            let x = upload(&cuda, &product.x().to_f32()[..rows * 64], 64);
            let work = || cuda.linear(&cuda.norm(&x, &norm).unwrap(), &layer, Epilogue::NONE);
            driver.counts_of(|| work().unwrap()).1.launches
        };
        assert_eq!([30, 30, 8, 9].map(through), [3, 2, 2, 2], "{}", cuda.describe());
    }
}

/// A pass that is trained on keeps what layers read until the way back: norms lay nothing out for it, whoever has read before.
#[test]
fn layers_that_are_trained_read_values() {
    for (cuda, driver) in devices() {
        let product = Product::new(Sizes { rows: 20, input: 64, output: 40 });
        let weight = cuda.upload(&product.layer(false).parts[0].weight).unwrap();
        let part = MasterPart { weight: &weight, bias: None, transposed: false };
        let none = TrainEpilogue { activation: None, dropout: None, residual: None };
        let masters = Masters { parts: vec![part], gated: false, scale: 1.0 };
        let trained = cuda.pack_masters(&masters, Format::Bf16).unwrap();
        let layer = cuda.pack(&product.layer(false), Format::Bf16).unwrap();
        let norm = cuda.norm_weights(&norm_spec(NormKind::Rms, 64)).unwrap();
        let x = cuda.upload(product.x()).unwrap();
        let normed = || cuda.norm(&x, &norm).unwrap();
        let inferred = || cuda.linear(&normed(), &layer, Epilogue::NONE).unwrap();
        let trained = || cuda.linear_forward(&normed(), &trained, &none, false);
        let launches = |work: &dyn Fn()| driver.counts_of(work).1.launches;
        let infer = || drop(inferred());
        let train = || drop(trained().unwrap());
        let seen = [
            launches(&infer),
            launches(&infer),
            launches(&train),
            launches(&train),
            launches(&infer),
        ];
        assert_eq!(seen, [3, 2, 3, 3, 3], "{}", cuda.describe());
    }
}
