//! What lies between the products of a trained linear layer.

use super::column_threads;
use super::elementwise::drop_args;
use super::linear::code;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::train::Dropout;
use seq2seq_core::{Activation, Rows};

static ARTIFACT: Artifact = artifact!("linear_back");
static EPILOGUE: Kernel = Kernel::new(&ARTIFACT, "linear_epilogue");
static SLOPES: Kernel = Kernel::new(&ARTIFACT, "linear_slopes");

/// What is done to the sums of a layer.
#[derive(Clone, Copy)]
pub(crate) struct Shaped {
    pub(crate) activation: Option<Activation>,
    pub(crate) gated: bool,
    pub(crate) dropout: Option<Dropout>,
}

fn launch<'a>(cuda: &'a Cuda, kernel: &'a Kernel, rows: usize, outputs: usize) -> Launch<'a> {
    let threads = column_threads(outputs);
    Launch::new(cuda, kernel).grid(rows, outputs.div_ceil(threads), 1).block(threads)
}

/// From the sums as the kernels give them to `y`, and to the sums as they are kept.
pub(crate) fn epilogue(
    cuda: &Cuda,
    z: &Buffer<f32>,
    shaped: Shaped,
    residual: Option<&Tensor>,
    (y, kept): (&mut Tensor, Option<&mut Tensor>),
) -> Result<()> {
    let (rows, outputs) = (y.rows(), y.width());
    let product = outputs * (1 + usize::from(shaped.gated));
    assert_eq!(z.len(), rows * product);
    assert!(residual.is_none_or(|r| (r.rows(), r.width()) == (rows, outputs)));
    assert!(kept.as_ref().is_none_or(|k| (k.rows(), k.width()) == (rows, product)));
    let launch = launch(cuda, &EPILOGUE, rows, outputs)
        .arg(z)
        .arg(residual.map_or(0, |r| r.values().address()))
        .arg(code(shaped.activation))
        .arg(i32::from(shaped.gated))
        .size(rows)
        .size(outputs);
    let launch = drop_args(launch, shaped.dropout).out(y.values_mut());
    let launch = match kept {
        Some(kept) => launch.out(kept.values_mut()),
        None => launch.arg(0u64),
    };
    // SAFETY: sizes agree, as was just checked.
    unsafe { launch.run() }
}

/// The gradients of the sums, from that of the result.
pub(crate) fn slopes(
    cuda: &Cuda,
    dy: &Tensor,
    sums: Option<&Tensor>,
    shaped: Shaped,
    dz: &mut Tensor,
) -> Result<()> {
    let (rows, outputs) = (dy.rows(), dy.width());
    let size = (rows, outputs * (1 + usize::from(shaped.gated)));
    assert_eq!((dz.rows(), dz.width()), size);
    assert!(match sums {
        Some(sums) => (sums.rows(), sums.width()) == size,
        None => !shaped.gated && shaped.activation.is_none(),
    });
    let launch = launch(cuda, &SLOPES, rows, outputs)
        .arg(dy.values())
        .arg(sums.map_or(0, |s| s.values().address()))
        .arg(code(shaped.activation))
        .arg(i32::from(shaped.gated))
        .size(rows)
        .size(outputs);
    let launch = drop_args(launch, shaped.dropout).out(dz.values_mut());
    // SAFETY: sizes agree, and sums are there where they are read, as was just checked.
    unsafe { launch.run() }
}
