//! Windows beside the same windows put together from rows and columns.

use super::{Traced, gradient, host};
use crate::autodiff::{Autodiff, Tensor};
use crate::reference::Reference;
use crate::{
    Activation, Backend, ConvolutionOps, Epilogue, Format, Grid, LinearSpec, Part, RecurrentOps,
    Side, Stage, Windows,
};

/// The gradients of the layer that makes the positions and of that over their windows; with checkpointing, both are computed again.
fn back(
    checkpointing: bool,
    seen: impl Fn(&Traced, &Tensor<Reference>) -> Tensor<Reference>,
) -> [Vec<f32>; 2] {
    let b = Autodiff::new(Reference);
    let layer =
        |shape, name| b.pack(&LinearSpec::single(host(shape, 0.3).named(name), None), Format::F32);
    let (first, second) = (layer(&[3, 2], "first").unwrap(), layer(&[4, 6], "second").unwrap());
    b.begin(None);
    if checkpointing {
        b.checkpoint();
    }
    let x = b.upload(&host(&[7, 2], 0.1)).unwrap();
    b.observe(Stage::Embedding(Side::Encoder), &x).unwrap();
    let x = b.linear(&x, &first, Epilogue::activation(Activation::Gelu)).unwrap();
    let y = b.linear(&seen(&b, &x), &second, Epilogue::NONE).unwrap();
    b.observe(Stage::Layer(Side::Encoder, 0), &y).unwrap();
    b.seed(&y, Reference.upload(&host(&[5, 4], 0.7)).unwrap()).unwrap();
    b.backward().unwrap();
    ["first", "second"].map(|name| gradient(&b, name).unwrap())
}

#[test]
fn windows_go_back_as_the_rows_that_they_are_made_of() {
    // Windows of two places of a line of four and a line of three.
    let grids = [Grid::line(4), Grid::line(3)];
    let windows = |b: &Traced, x: &_| b.windows(x, &grids, &Windows::line(2, 1, 0)).unwrap();
    let again = back(true, windows);
    let windows = back(false, windows);
    assert_eq!(windows, again);
    let rows = back(false, |b, x| {
        let taps = [[0, 1, 2, 4, 5], [1, 2, 3, 5, 6]].map(|rows| b.gather_rows(x, &rows).unwrap());
        b.columns(&taps.each_ref().map(Part::all)).unwrap()
    });
    for (windows, rows) in windows.iter().zip(&rows) {
        let largest = rows.iter().fold(0.0f32, |a, v| a.max(v.abs()));
        assert!(largest > 0.1 && windows.len() == rows.len());
        assert!(windows.iter().zip(rows).all(|(w, r)| (w - r).abs() < 1e-6 * largest));
    }
}
