//! Recurrent layers, additive attention, rows and columns.

use super::{finite_tensor, float, pack};
use crate::{
    Cell, Error, Format, HostTensor, LinearSpec, Part, Ragged, RecurrentSpec, Result, Rows,
};

/// The sizes of a recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrentShape {
    /// Which equations.
    pub cell: Cell,
    /// M
    pub width: usize,
    /// D
    pub directions: usize,
}

impl RecurrentShape {
    /// Columns of the projected input: D · gates · M.
    pub fn input(&self) -> usize {
        self.cell.gates() * self.output()
    }

    /// Columns of the result: D · M.
    pub fn output(&self) -> usize {
        self.directions * self.width
    }

    /// Columns of the state.
    pub fn state(&self) -> usize {
        self.cell.vectors() * self.output()
    }
}

/// For [`RecurrentOps::recurrent`](crate::RecurrentOps::recurrent). Whether the weights are finite is for the packing to
/// find, as in [`pack`].
pub fn recurrent(spec: &RecurrentSpec, format: Format) -> Result<RecurrentShape> {
    const OP: &str = "recurrent";
    let directions = spec.directions.len();
    if !(1..=2).contains(&directions) {
        return Err(Error::invalid(OP, format!("{directions} directions; there can be 1 or 2")));
    }
    if spec.directions.iter().any(|part| part.transposed) {
        return Err(Error::invalid(OP, "a weight is transposed; give [gates · M, M]"));
    }
    let all = LinearSpec { parts: spec.directions.clone(), gated: false, scale: 1.0 };
    let width = pack(&all, format)?.input;
    for part in &spec.directions {
        let rows = part.weight.shape()[0];
        Error::expect(OP, "rows of a weight", spec.cell.gates() * width, rows)?;
    }
    Ok(RecurrentShape { cell: spec.cell, width, directions })
}

/// For [`RecurrentOps::recur`](crate::RecurrentOps::recur).
pub fn recur<T: Rows>(
    x: &T,
    rows: &Ragged,
    shape: RecurrentShape,
    state: Option<&T>,
) -> Result<()> {
    const OP: &str = "recur";
    Error::expect(OP, "width of the projected input", shape.input(), x.width())?;
    Error::expect(OP, "rows", rows.rows(), x.rows())?;
    if let Some(state) = state {
        Error::expect(OP, "width of the state", shape.state(), state.width())?;
        Error::expect(OP, "rows of the state", rows.sequences(), state.rows())?;
    }
    Ok(())
}

/// For [`RecurrentOps::columns`](crate::RecurrentOps::columns): N and the sum of widths.
pub fn columns<T: Rows>(parts: &[Part<'_, T>]) -> Result<[usize; 2]> {
    const OP: &str = "columns";
    let first = parts.first().ok_or_else(|| Error::invalid(OP, "no parts; give one"))?;
    let (rows, mut width) = (first.tensor.rows(), 0);
    for Part { tensor, columns } in parts {
        Error::expect(OP, "rows of a part", rows, tensor.rows())?;
        if columns.start > columns.end || columns.end > tensor.width() {
            let reason = format!("columns {columns:?} of {}", tensor.width());
            return Err(Error::invalid(OP, reason));
        }
        width += columns.len();
    }
    Ok([rows, width])
}

/// For [`RecurrentOps::stack_rows`](crate::RecurrentOps::stack_rows): the sum of rows, and the width.
pub fn stack_rows<T: Rows>(parts: &[&T]) -> Result<[usize; 2]> {
    const OP: &str = "stack_rows";
    let first = parts.first().ok_or_else(|| Error::invalid(OP, "no parts; give one"))?;
    for part in parts {
        Error::expect(OP, "width of a part", first.width(), part.width())?;
    }
    Ok([parts.iter().map(|part| part.rows()).sum(), first.width()])
}

/// For [`RecurrentOps::additive`](crate::RecurrentOps::additive): A.
pub fn additive(v: &HostTensor) -> Result<usize> {
    const OP: &str = "additive";
    let [width] = float(OP, "v", v)?;
    if width == 0 {
        return Err(Error::invalid(OP, "v is empty"));
    }
    finite_tensor(OP, "v", v)?;
    Ok(width)
}

/// For [`RecurrentOps::additive_memory`](crate::RecurrentOps::additive_memory).
pub fn additive_memory<T: Rows>(keys: &T, values: &T, rows: &Ragged) -> Result<()> {
    const OP: &str = "additive_memory";
    Error::expect(OP, "rows of the keys", rows.rows(), keys.rows())?;
    Error::expect(OP, "rows of the values", rows.rows(), values.rows())
}

/// For [`RecurrentOps::additive_attend`](crate::RecurrentOps::additive_attend): v of `width` values, a memory of `held`
/// sources with keys of `key_width` columns.
pub fn additive_attend(
    q: &impl Rows,
    rows: &Ragged,
    width: usize,
    sources: &[usize],
    (held, key_width): (usize, usize),
) -> Result<()> {
    const OP: &str = "additive_attend";
    Error::expect(OP, "width of the query", width, q.width())?;
    Error::expect(OP, "width of the keys", width, key_width)?;
    Error::expect(OP, "rows", rows.rows(), q.rows())?;
    Error::expect(OP, "sources", rows.sequences(), sources.len())?;
    Error::check_range(OP, "source", sources.iter().copied(), held)
}
