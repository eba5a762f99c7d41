//! Steps of optimisers.

use super::elementwise::each;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Buffer;
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::train::{AdamW, Sgd};

static ARTIFACT: Artifact = artifact!("optimiser");
static ADAMW: Kernel = Kernel::new(&ARTIFACT, "adamw");
static SGD: Kernel = Kernel::new(&ARTIFACT, "sgd");
static FULL: Kernel = Kernel::new(&ARTIFACT, "adafactor_full");
static ROWS: Kernel = Kernel::new(&ARTIFACT, "adafactor_rows");
static COLUMNS: Kernel = Kernel::new(&ARTIFACT, "adafactor_columns");
static MEAN: Kernel = Kernel::new(&ARTIFACT, "mean");
static FACTORED: Kernel = Kernel::new(&ARTIFACT, "adafactor_factored");

const THREADS: usize = 256;

/// One step of AdamW.
pub(crate) fn adamw(
    cuda: &Cuda,
    settings: &AdamW,
    gradient: &Buffer<f32>,
    p: &mut Buffer<f32>,
    [m, v]: [&mut Buffer<f32>; 2],
) -> Result<()> {
    let n = gradient.len();
    assert_eq!([n; 3], [p.len(), m.len(), v.len()]);
    let [beta1, beta2] = settings.betas;
    let (rate, step) = (f64::from(settings.rate), settings.step as i32);
    let launch = each(cuda, &ADAMW, n)
        .arg(gradient)
        .arg(n as u64)
        .arg(settings.gradient_scale)
        .arg(beta1 as f32)
        .arg((1.0 - beta1) as f32)
        .arg(beta2 as f32)
        .arg((1.0 - beta2) as f32)
        .arg((1.0 - beta2.powi(step)).sqrt() as f32)
        .arg((rate / (1.0 - beta1.powi(step))) as f32)
        .arg(settings.eps)
        .arg((1.0 - rate * f64::from(settings.decay)) as f32)
        .out(p)
        .out(m)
        .out(v);
    // SAFETY: all have n values.
    unsafe { launch.run() }
}

/// One step of gradient descent; `first` where the velocity holds nothing yet.
pub(crate) fn sgd(
    cuda: &Cuda,
    settings: &Sgd,
    gradient: &Buffer<f32>,
    p: &mut Buffer<f32>,
    (velocity, first): (&mut Buffer<f32>, bool),
) -> Result<()> {
    let n = gradient.len();
    assert_eq!([n; 2], [p.len(), velocity.len()]);
    let launch = each(cuda, &SGD, n)
        .arg(gradient)
        .arg(n as u64)
        .arg(settings.gradient_scale)
        .arg(settings.momentum)
        .arg(settings.decay)
        .arg(settings.rate)
        .arg(i32::from(first))
        .out(p)
        .out(velocity);
    // SAFETY: all have n values; a velocity that holds nothing is not read.
    unsafe { launch.run() }
}

/// What Adafactor's moments are made with: held = β held + (1 - β) (scale · gradient)² + eps.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) scale: f32,
    pub(crate) beta: f64,
    pub(crate) eps: f32,
}

impl Moment {
    fn args<'a>(self, launch: Launch<'a>) -> Launch<'a> {
        launch.arg(self.scale).arg(self.beta as f32).arg((1.0 - self.beta) as f32).arg(self.eps)
    }
}

/// A full second moment, and the gradient over its root.
pub(crate) fn full(
    cuda: &Cuda,
    gradient: &Buffer<f32>,
    moment: Moment,
    held: &mut Buffer<f32>,
    update: &mut Buffer<f32>,
) -> Result<()> {
    let n = gradient.len();
    assert_eq!([n; 2], [held.len(), update.len()]);
    let launch = moment.args(each(cuda, &FULL, n).arg(gradient).arg(n as u64));
    let launch = launch.out(held).out(update);
    // SAFETY: all have n values.
    unsafe { launch.run() }
}

/// The factors of a second moment, and the gradient over the root of their product.
pub(crate) fn factored(
    cuda: &Cuda,
    gradient: &Buffer<f32>,
    moment: Moment,
    [by_row, by_column]: [&mut Buffer<f32>; 2],
    update: &mut Buffer<f32>,
) -> Result<()> {
    let (rows, columns, n) = (by_row.len(), by_column.len(), gradient.len());
    assert_eq!([n; 2], [rows * columns, update.len()]);
    let launch =
        Launch::new(cuda, &ROWS).grid(rows, 1, 1).block(THREADS).arg(gradient).size(columns);
    let launch = moment.args(launch).out(by_row);
    // SAFETY: gradient is [rows, columns], held [rows].
    unsafe { launch.run() }?;
    let launch = Launch::new(cuda, &COLUMNS).grid(columns.div_ceil(32), 1, 1).block(THREADS);
    let launch = moment.args(launch.arg(gradient).size(rows).size(columns)).out(by_column);
    // SAFETY: gradient is [rows, columns], held [columns].
    unsafe { launch.run() }?;
    let mut mean = cuda.buffer::<f32>(1)?;
    let launch = Launch::new(cuda, &MEAN).block(THREADS).arg(&*by_row).size(rows).out(&mut mean);
    // SAFETY: by_row has `rows` values, mean one.
    unsafe { launch.run() }?;
    let launch = each(cuda, &FACTORED, n)
        .arg(gradient)
        .arg(n as u64)
        .size(columns)
        .arg(moment.scale)
        .arg(&*by_row)
        .arg(&*by_column)
        .arg(&mean)
        .out(update);
    // SAFETY: gradient and update are [rows, columns]; the factors are as long as these.
    unsafe { launch.run() }
}
