//! What threads share that nobody has asked them to: plans of attention, and rows that a tensor keeps as layers read them. While one
//! thread is in a step, what it makes is listed only; another that was given it would read what is not there yet.

mod common;

use common::counting::Counting;
use common::readers::{norm_spec, upload};
use common::tiles::{Product, Sizes};
use common::{Played, attend};
use seq2seq_core::{
    AttentionSpec, Backend, EncoderOps, Epilogue, Error, Format, NormKind, Precision, Ragged,
    Rotary,
};
use seq2seq_cuda::{Cuda, CudaOptions, Tensor};
use std::sync::{Arc, mpsc};

fn device() -> (Cuda, Arc<Counting<Played>>) {
    let driver = Arc::new(Counting::new(Played::new(common::BYTES).late()));
    (Cuda::with_driver(driver.clone(), CudaOptions::default()), driver)
}

/// What `work` gives in a step, on another thread while that step is open, and then alone.
fn in_and_beside_a_step(cuda: &Cuda, work: impl Fn() -> Tensor + Sync) -> [Vec<f32>; 3] {
    let (listed, begins) = mpsc::channel();
    let (done, goes_on) = mpsc::channel();
    std::thread::scope(|scope| {
        let work = &work;
        let beside = scope.spawn(move || {
            begins.recv().unwrap();
            let found = cuda.download(&work());
            done.send(()).unwrap();
            found
        });
        let y = cuda.step(|| {
            let y = work();
            listed.send(()).unwrap();
            goes_on.recv().unwrap();
            Ok::<_, Error>(y)
        });
        let found = [cuda.download(&y.unwrap()), beside.join().unwrap(), cuda.download(&work())];
        found.map(Result::unwrap)
    })
}

/// Angles of rotary positions are made on the device.
#[test]
fn a_plan_is_there_before_it_is_shared() {
    let rotary = Some(Rotary { inv_freq: [1.0, 0.1, 0.01].into(), scale: 1.0 });
    for precision in [Precision::F32, Precision::Bf16] {
        let spec = AttentionSpec { rotary: rotary.clone(), precision, ..attend::spec(20) };
        let (cuda, driver) = device();
        let rows = Ragged::from_lengths([9, 70]);
        let x = upload(&cuda, &attend::rows(&spec, rows.rows()), spec.qkv_width());
        let attend = || cuda.attend(&x, &rows, &spec, None).unwrap();
        let [inside, beside, alone] = in_and_beside_a_step(&cuda, attend);
        assert!(inside == alone && beside == alone, "{precision:?}");
        // A step whose plan is kept is not cut: it lists what the first did behind its plan.
        let step = || cuda.step(|| Ok::<_, Error>(attend())).unwrap();
        let ((), counts) = driver.counts_of(|| (0..3).for_each(|_| drop(step())));
        assert_eq!((counts.graphs, counts.graph_runs, counts.launches), (1, 3, 0), "{precision:?}");
    }
}

#[test]
fn rows_are_laid_out_before_they_are_shared() {
    for format in [Format::Bf16, Format::Int8] {
        let (cuda, _) = device();
        let product = Product::new(Sizes { rows: 21, input: 100, output: 40 });
        let layer = cuda.pack(&product.layer(false), format).unwrap();
        let norm = cuda.norm_weights(&norm_spec(NormKind::Layer, 100)).unwrap();
        let normed = cuda.norm(&cuda.upload(product.x()).unwrap(), &norm).unwrap();
        let read = || cuda.linear(&normed, &layer, Epilogue::NONE).unwrap();
        let [inside, beside, alone] = in_and_beside_a_step(&cuda, read);
        assert!(inside == alone && beside == alone, "{format}");
    }
}
