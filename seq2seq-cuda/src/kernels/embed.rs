//! Table lookups.

use super::column_threads;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::{DType, Rows};

static ARTIFACT: Artifact = artifact!("embed", step);
static EMBED: Kernel = Kernel::new(&ARTIFACT, "embed");

/// Tables of one launch.
const TABLES: usize = 4;

/// What the kernel calls an element type.
fn code(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        _ => 2,
    }
}

/// A table in the device's memory, and the rows that are looked up in it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) address: u64,
    pub(crate) dtype: DType,
    pub(crate) scale: f32,
    pub(crate) ids: &'a [u32],
}

/// `y` = the sum of the lookups. Ids and the tables' widths are checked by the caller.
pub(crate) fn embed(cuda: &Cuda, sources: &[Source<'_>], y: &mut Tensor) -> Result<()> {
    let ids: Vec<u32> = sources.iter().flat_map(|s| s.ids).copied().collect();
    let ids = cuda.upload_values(&ids)?;
    let (rows, width) = (y.rows(), y.width());
    for (part, sources) in sources.chunks(TABLES).enumerate() {
        let first = part * TABLES * rows;
        let mut launch = Launch::new(cuda, &EMBED).grid(rows, 1, 1).block(column_threads(width));
        for i in 0..TABLES {
            let source = sources.get(i).unwrap_or(&sources[0]);
            launch = launch.arg(source.address).arg(code(source.dtype)).arg(source.scale);
        }
        launch = launch
            .arg(offset(&ids, first))
            .size(sources.len())
            .size(rows)
            .size(width)
            .arg(i32::from(part > 0))
            .out(y.values_mut());
        // SAFETY: `ids` has a run of `rows` ids for each table, each below its rows; `y` is [rows, width].
        unsafe { launch.run() }?;
    }
    Ok(())
}

/// The address of ids from `first` on.
fn offset(ids: &Buffer<u32>, first: usize) -> u64 {
    ids.address() + first as u64 * size_of::<u32>() as u64
}
