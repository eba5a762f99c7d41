//! Table lookups.

use super::column_threads;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use crate::{Cuda, Embedding};
use seq2seq_core::{DType, Lookup, Rows};

static ARTIFACT: Artifact = artifact!("embed");
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

/// `y` = the sum of the lookups. Ids are those of `lookups`, checked by the caller, as are the tables' widths.
pub(crate) fn embed(cuda: &Cuda, lookups: &[Lookup<'_, Embedding>], y: &mut Tensor) -> Result<()> {
    let ids: Vec<u32> = lookups.iter().flat_map(|l| l.ids).copied().collect();
    let ids = cuda.upload_values(&ids)?;
    let (rows, width) = (y.rows(), y.width());
    for (part, lookups) in lookups.chunks(TABLES).enumerate() {
        let first = part * TABLES * rows;
        let mut launch = Launch::new(cuda, &EMBED).grid(rows, 1, 1).block(column_threads(width));
        for i in 0..TABLES {
            let lookup = lookups.get(i).unwrap_or(&lookups[0]);
            launch =
                launch.arg(lookup.table.values()).arg(code(lookup.table.dtype())).arg(lookup.scale);
        }
        launch = launch
            .arg(offset(&ids, first))
            .size(lookups.len())
            .size(rows)
            .size(width)
            .arg(i32::from(part > 0))
            .out(y.values_mut());
        // SAFETY: `ids` has a run of `rows` ids for each lookup, each below the rows of its table; `y` is [rows, width].
        unsafe { launch.run() }?;
    }
    Ok(())
}

/// The address of ids from `first` on.
fn offset(ids: &Buffer<u32>, first: usize) -> u64 {
    ids.address() + first as u64 * size_of::<u32>() as u64
}
