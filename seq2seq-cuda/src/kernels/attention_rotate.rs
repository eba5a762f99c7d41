//! Heads of packed rows, rotated in place.

use super::angles::Angles;
use super::column_threads;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;

static ARTIFACT: Artifact = artifact!("attention_rotate");
static ROTATE: Kernel = Kernel::new(&ARTIFACT, "attention_rotate");

/// Rotates the first `heads` heads, `width` wide, of each row of `x` by the angles of its place, or back.
///
/// # Safety
/// The angles reach as far as the places.
pub(crate) unsafe fn rotate(
    cuda: &Cuda,
    (angles, back): (&Angles, bool),
    places: &Buffer<i32>,
    (heads, width): (usize, usize),
    x: &mut Tensor,
) -> Result<()> {
    let (table, pairs) = Angles::of(Some(angles));
    assert!(x.rows() == places.len() && heads * width <= x.width() && 2 * pairs <= width);
    let launch = Launch::new(cuda, &ROTATE)
        .grid(x.rows(), 1, 1)
        .block(column_threads(heads * pairs))
        .arg(places)
        .arg(table)
        .size(pairs)
        .size(heads)
        .size(width)
        .size(x.width())
        .arg(i32::from(back))
        .out(x.values_mut());
    // SAFETY: the heads lie inside a row; the caller answers for the angles.
    unsafe { launch.run() }
}
