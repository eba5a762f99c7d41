//! Table lookups.

use super::{chosen::Chosen, column_threads};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::Tensor;
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

/// A table in the device's memory.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub(crate) address: u64,
    pub(crate) dtype: DType,
    pub(crate) scale: f32,
}

/// `y` = the sum of the lookups: `chosen`, where there are some, in the first table, then `ids`, a run of them for each table that is
/// left. Ids and the tables' widths are checked by the caller.
pub(crate) fn embed(
    cuda: &Cuda,
    sources: &[Source],
    (chosen, ids): (Option<&Chosen>, &[u32]),
    y: &mut Tensor,
) -> Result<()> {
    let (rows, width) = (y.rows(), y.width());
    assert!(chosen.is_none_or(|chosen| chosen.hypotheses() == rows));
    let known = sources.len() - usize::from(chosen.is_some());
    assert_eq!(ids.len(), known * rows, "an id for each row and table");
    let ids = cuda.upload_values(ids)?;
    for (part, sources) in sources.chunks(TABLES).enumerate() {
        // Those that are uploaded begin with the second table where the first one's are chosen.
        let run = |table: usize| ids.at(table * rows);
        let (first, others) = match (chosen, part * TABLES) {
            (Some(chosen), 0) => (chosen.next_ids(), run(0)),
            (Some(_), table) => (run(table - 1), run(table)),
            (None, table) => (run(table), run(table + 1)),
        };
        let mut launch = Launch::new(cuda, &EMBED).grid(rows, 1, 1).block(column_threads(width));
        for i in 0..TABLES {
            let source = sources.get(i).unwrap_or(&sources[0]);
            launch = launch.arg(source.address).arg(code(source.dtype)).arg(source.scale);
        }
        launch = launch
            .arg(first)
            .arg(others)
            .size(sources.len())
            .size(rows)
            .size(width)
            .arg(i32::from(part > 0))
            .out(y.values_mut());
        // SAFETY: each table has a run of `rows` ids, each below its rows; `y` is [rows, width].
        unsafe { launch.run() }?;
    }
    Ok(())
}
