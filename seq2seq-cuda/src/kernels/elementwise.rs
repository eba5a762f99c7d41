//! Operations on each element by itself, and sums over columns and over everything.

use super::column_threads;
use super::rows::View;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::train::Dropout;
use seq2seq_core::{Ragged, Rows};

static ARTIFACT: Artifact = artifact!("elementwise");
static COMBINE: Kernel = Kernel::new(&ARTIFACT, "combine");
static ADD: Kernel = Kernel::new(&ARTIFACT, "add");
static DROPOUT: Kernel = Kernel::new(&ARTIFACT, "apply_dropout");
static SUM_COLUMNS: Kernel = Kernel::new(&ARTIFACT, "sum_columns");
static SUM_SQUARES: Kernel = Kernel::new(&ARTIFACT, "sum_squares");
static SCATTER: Kernel = Kernel::new(&ARTIFACT, "scatter_rows");
static SPREAD: Kernel = Kernel::new(&ARTIFACT, "spread_rows");

const THREADS: usize = 256;
/// Blocks of a sum of squares: enough for a large device, and the same on each.
const SQUARE_BLOCKS: usize = 1024;

/// A launch with a thread an element.
pub(super) fn each<'a>(cuda: &'a Cuda, kernel: &'a Kernel, n: usize) -> Launch<'a> {
    Launch::new(cuda, kernel).grid(n.div_ceil(THREADS), 1, 1).block(THREADS)
}

/// `launch` with the arguments of DROPOUT_PARAMETERS.
pub(super) fn drop_args<'a>(launch: Launch<'a>, dropout: Option<Dropout>) -> Launch<'a> {
    let (seed, threshold, place, step, scale) = match dropout {
        Some(d) => (d.seed, d.threshold(), d.place, d.step, d.scale()),
        None => (0, 0, 0, 0, 0.0),
    };
    launch.arg(seed).arg(threshold).arg(place).arg(step).arg(scale)
}

/// `out` = a x + b y; where there is no `y`, a x.
pub(crate) fn combine(
    cuda: &Cuda,
    (a, x): (f32, &Buffer<f32>),
    y: Option<(f32, &Buffer<f32>)>,
    out: &mut Buffer<f32>,
) -> Result<()> {
    let n = out.len();
    assert!(x.len() == n && y.is_none_or(|(_, y)| y.len() == n));
    let (b, y) = y.map_or((0.0, 0), |(b, y)| (b, y.address()));
    let launch = each(cuda, &COMBINE, n).arg(a).arg(x).arg(b).arg(y).arg(n as u64).out(out);
    // SAFETY: all have n values, as was just checked.
    unsafe { launch.run() }
}

/// x += y
pub(crate) fn add(cuda: &Cuda, y: &Buffer<f32>, x: &mut Buffer<f32>) -> Result<()> {
    assert_eq!(x.len(), y.len());
    let launch = each(cuda, &ADD, y.len()).arg(y).arg(y.len() as u64).out(x);
    // SAFETY: both have as many values.
    unsafe { launch.run() }
}

/// y = x times the factor of each element.
pub(crate) fn apply_dropout(
    cuda: &Cuda,
    x: &Tensor,
    dropout: Dropout,
    y: &mut Tensor,
) -> Result<()> {
    let (rows, width) = (x.rows(), x.width());
    assert_eq!((rows, width), (y.rows(), y.width()));
    let launch = Launch::new(cuda, &DROPOUT).grid(rows, 1, 1).block(column_threads(width));
    let launch = drop_args(launch.arg(x.values()).size(rows).size(width), Some(dropout));
    let launch = launch.out(y.values_mut());
    // SAFETY: x and y are [rows, width].
    unsafe { launch.run() }
}

/// `out` = or += the sums of the columns of `x`, each value times that of `factor`, where there is one.
pub(crate) fn sum_columns(
    cuda: &Cuda,
    x: View<'_>,
    factor: Option<&Buffer<f32>>,
    accumulate: bool,
    out: &mut Buffer<f32>,
) -> Result<()> {
    x.check();
    assert_eq!((x.strides[1], x.width), (1, out.len()));
    assert!(factor.is_none_or(|f| f.len() == x.rows * x.width));
    let launch = Launch::new(cuda, &SUM_COLUMNS)
        .grid(x.width.div_ceil(32), 1, 1)
        .block(THREADS)
        .arg(x.values)
        .arg(factor.map_or(0, Buffer::address))
        .size(x.rows)
        .size(x.strides[0])
        .size(x.first)
        .size(x.width)
        .arg(i32::from(accumulate))
        .out(out);
    // SAFETY: x lies inside its buffer, factor is [rows, width], out [width].
    unsafe { launch.run() }
}

/// Σ x², having waited for it.
pub(crate) fn sum_of_squares(cuda: &Cuda, x: &Buffer<f32>) -> Result<f64> {
    Ok(sums_of_squares(cuda, &[x])?[0])
}

/// The same of each buffer, having waited once for all.
pub(crate) fn sums_of_squares(cuda: &Cuda, buffers: &[&Buffer<f32>]) -> Result<Vec<f64>> {
    let blocks = |x: &Buffer<f32>| x.len().div_ceil(THREADS).min(SQUARE_BLOCKS);
    let parts = cuda.buffer::<f64>(buffers.iter().map(|x| blocks(x)).sum())?;
    let mut first = 0;
    for x in buffers {
        let launch = Launch::new(cuda, &SUM_SQUARES).grid(blocks(x), 1, 1).block(THREADS);
        let launch = launch.arg(*x).arg(x.len() as u64).arg(parts.at(first));
        // SAFETY: x has so many values, and there is a part for each of its blocks behind those of the buffers before.
        unsafe { launch.run() }?;
        first += blocks(x);
    }
    let parts = parts.download()?;
    let mut rest = &parts[..];
    let sum = |x: &&Buffer<f32>| {
        let (mine, others) = rest.split_at(blocks(x));
        rest = others;
        mine.iter().sum()
    };
    Ok(buffers.iter().map(sum).collect())
}

/// Adds `scale` times row i of `dy` to row `rows[i]` of `x`, for rows that are rows of `x`; those of one row in their order.
pub(crate) fn scatter_rows(
    cuda: &Cuda,
    dy: &Tensor,
    rows: &[u32],
    scale: f32,
    x: &mut Tensor,
) -> Result<()> {
    let width = dy.width();
    assert_eq!((rows.len(), width), (dy.rows(), x.width()));
    let (targets, starts, list) = by_target(rows);
    assert!(targets.last().is_none_or(|&last| (last as usize) < x.rows()));
    let count = targets.len();
    let [targets, starts, list] =
        [cuda.upload_values(&targets)?, cuda.upload_values(&starts)?, cuda.upload_values(&list)?];
    let launch = Launch::new(cuda, &SCATTER)
        .grid(count, 1, 1)
        .block(column_threads(width))
        .arg(dy.values())
        .arg(&targets)
        .arg(&starts)
        .arg(&list)
        .size(width)
        .arg(scale)
        .out(x.values_mut());
    // SAFETY: targets are rows of x, each once; the lists are of rows of dy.
    unsafe { launch.run() }
}

/// The targets in rising order, where the list of each begins (and the last ends), and the lists: which rows go there.
fn by_target(rows: &[u32]) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut list: Vec<u32> = (0..rows.len() as u32).collect();
    // Stable: rows of one target stay in their order.
    list.sort_by_key(|&i| rows[i as usize]);
    let (mut targets, mut starts) = (Vec::new(), Vec::new());
    for (at, &i) in list.iter().enumerate() {
        if targets.last() != Some(&rows[i as usize]) {
            targets.push(rows[i as usize]);
            starts.push(at as u32);
        }
    }
    starts.push(list.len() as u32);
    (targets, starts, list)
}

/// Each row of `x` is or gets that of its sequence in `dy`, over the sequence's length.
pub(crate) fn spread_rows(
    cuda: &Cuda,
    dy: &Tensor,
    rows: &Ragged,
    accumulate: bool,
    x: &mut Tensor,
) -> Result<()> {
    let width = dy.width();
    assert_eq!((rows.sequences(), rows.rows(), width), (dy.rows(), x.rows(), x.width()));
    let of = |(i, range): (usize, std::ops::Range<usize>)| range.map(move |_| i as u32);
    let sequence: Vec<u32> = rows.ranges().enumerate().flat_map(of).collect();
    let ends = rows.ranges().map(|r| r.end as u32);
    let offsets: Vec<u32> = std::iter::once(0).chain(ends).collect();
    let (sequence, offsets) = (cuda.upload_values(&sequence)?, cuda.upload_values(&offsets)?);
    let launch = Launch::new(cuda, &SPREAD)
        .grid(rows.rows(), 1, 1)
        .block(column_threads(width))
        .arg(dy.values())
        .arg(&sequence)
        .arg(&offsets)
        .size(width)
        .arg(i32::from(accumulate))
        .out(x.values_mut());
    // SAFETY: every row has a sequence, which is a row of dy.
    unsafe { launch.run() }
}

#[cfg(test)]
mod tests {
    use super::by_target;

    #[test]
    fn rows_of_one_target_stay_in_order() {
        let (targets, starts, list) = by_target(&[5, 2, 5, 2, 9]);
        assert_eq!((targets, starts, list), (vec![2, 5, 9], vec![0, 2, 4, 5], vec![1, 3, 0, 2, 4]));
        assert_eq!(by_target(&[]), (vec![], vec![0], vec![]));
    }
}
