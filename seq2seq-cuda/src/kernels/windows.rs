//! Windows of grids, and the way back.

use super::column_threads;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::backend::check::{Sight, Sights};
use seq2seq_core::{Rows, Windows};

static ARTIFACT: Artifact = artifact!("windows");
static WINDOWS: Kernel = Kernel::new(&ARTIFACT, "windows");
static ARTIFACT_BACK: Artifact = artifact!("windows_back");
static BACK: Kernel = Kernel::new(&ARTIFACT_BACK, "windows_back");

/// Threads of a block that has several positions.
const THREADS: usize = 256;

/// Grids as the kernels read them. Their positions and their windows are rows of tensors on the device, and so are their sides
/// but those of a grid without positions, which no kernel looks at: 0 here, as they may be of any length.
fn upload(cuda: &Cuda, sights: &Sights) -> Result<Buffer<[u32; 6]>> {
    let sight = |s: &Sight| {
        let (mut grid, windows) = (s.grid, s.windows);
        if grid.positions() == 0 {
            (grid.height, grid.width) = (0, 0);
        }
        [grid.height, grid.width, s.from, windows.height, windows.width, s.to].map(|n| n as u32)
    };
    cuda.upload_values(&sights.each.iter().map(sight).collect::<Vec<_>>())
}

/// `launch` with the arguments of WINDOWS_PARAMETERS.
fn windows_args<'a>(
    launch: Launch<'a>,
    sights: &Buffer<[u32; 6]>,
    windows: &Windows,
) -> Launch<'a> {
    let [kernel_y, kernel_x] = windows.kernel;
    let launch = launch.arg(sights).size(sights.len()).size(kernel_y).size(kernel_x);
    [windows.stride, windows.padding, windows.dilation]
        .into_iter()
        .flatten()
        .fold(launch, |launch, n| launch.arg(n as i64))
}

/// The windows of the grids of `x`, of which there are as many as `y` has rows.
pub(crate) fn windows(
    cuda: &Cuda,
    x: &Tensor,
    sights: &Sights,
    windows: &Windows,
    y: &mut Tensor,
) -> Result<()> {
    let channels = x.width();
    assert_eq!((sights.rows, sights.width), (y.rows(), y.width()));
    if y.values().len() == 0 {
        return Ok(());
    }
    let sights = upload(cuda, sights)?;
    let threads = column_threads(windows.kernel[1] * channels);
    let launch = Launch::new(cuda, &WINDOWS).grid(y.rows(), 1, 1).block(threads);
    let launch = windows_args(launch.arg(x.values()).size(channels), &sights, windows);
    let launch = launch.out(y.values_mut());
    // SAFETY: grids lie in x and their windows in y, as `check::windows` has found.
    unsafe { launch.run() }
}

/// The gradient of the positions of the grids, which are the rows of `dx`, from that of their windows.
pub(crate) fn windows_back(
    cuda: &Cuda,
    dy: &Tensor,
    sights: &Sights,
    windows: &Windows,
    dx: &mut Tensor,
) -> Result<()> {
    let (rows, channels) = (dx.rows(), dx.width());
    assert_eq!((sights.rows, sights.width), (dy.rows(), dy.width()));
    if dx.values().len() == 0 {
        return Ok(());
    }
    let sights = upload(cuda, sights)?;
    let positions = (THREADS / channels).max(1);
    let launch = Launch::new(cuda, &BACK).grid(rows.div_ceil(positions), 1, 1).block(THREADS);
    let launch = windows_args(launch.arg(dy.values()).size(channels), &sights, windows);
    let launch = launch.size(positions).size(rows).out(dx.values_mut());
    // SAFETY: grids lie in dx and their windows in dy, as `check::windows_backward` has found.
    unsafe { launch.run() }
}
