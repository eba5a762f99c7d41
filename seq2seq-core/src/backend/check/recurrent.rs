//! Recurrent layers, additive attention, rows and columns.

use super::{finite_tensor, float, pack};
use crate::{
    Cell, Error, Format, HostTensor, LinearSpec, Part, Ragged, RecurrentSpec, Result, Rows,
};

/// The sizes of a recurrent layer.
///
/// ```
/// use seq2seq_core::{Cell, backend::check::RecurrentShape};
///
/// let shape = RecurrentShape { cell: Cell::Lstm, width: 16, directions: 2 };
/// assert_eq!((shape.input(), shape.output()), (4 * 32, 32));
/// assert_eq!(shape.state(), 2 * 32); // h and c
/// ```
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
///
/// ```
/// use seq2seq_core::{Cell, Format, HostTensor, LinearPart, RecurrentSpec, backend::check};
///
/// let weight = HostTensor::from_f32(vec![6, 2], &[0.0; 12])?;
/// let spec = RecurrentSpec {
///     cell: Cell::Gru,
///     directions: vec![LinearPart { weight, bias: None, transposed: false }],
/// };
/// let shape = check::recurrent(&spec, Format::F32)?;
/// assert_eq!((shape.width, shape.directions), (2, 1));
/// let error = check::recurrent(&RecurrentSpec { cell: Cell::Lstm, ..spec }, Format::F32).unwrap_err();
/// assert_eq!(error.to_string(), "recurrent: rows of a weight is 6, expected 8");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Cell, Ragged, backend::check::{RecurrentShape, recur}};
///
/// let shape = RecurrentShape { cell: Cell::Gru, width: 2, directions: 1 };
/// let (x, rows) = (tensor(5, shape.input())?, Ragged::from_lengths([3, 2]));
/// recur(&x, &rows, shape, Some(&tensor(2, shape.state())?))?;
/// let error = recur(&x, &rows, shape, Some(&tensor(5, shape.state())?)).unwrap_err();
/// assert_eq!(error.to_string(), "recur: rows of the state is 5, expected 2");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Part, backend::check::columns};
///
/// let (x, y) = (tensor(3, 4)?, tensor(3, 2)?);
/// assert_eq!(columns(&[Part::all(&x), Part { tensor: &y, columns: 1..2 }])?, [3, 5]);
/// let error = columns(&[Part { tensor: &y, columns: 1..3 }]).unwrap_err();
/// assert_eq!(error.to_string(), "columns: columns 1..3 of 2");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::stack_rows;
///
/// assert_eq!(stack_rows(&[&tensor(3, 4)?, &tensor(2, 4)?])?, [5, 4]);
/// assert!(stack_rows(&[&tensor(3, 4)?, &tensor(2, 5)?]).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn stack_rows<T: Rows>(parts: &[&T]) -> Result<[usize; 2]> {
    const OP: &str = "stack_rows";
    let first = parts.first().ok_or_else(|| Error::invalid(OP, "no parts; give one"))?;
    for part in parts {
        Error::expect(OP, "width of a part", first.width(), part.width())?;
    }
    Ok([parts.iter().map(|part| part.rows()).sum(), first.width()])
}

/// For [`RecurrentOps::additive`](crate::RecurrentOps::additive): A.
///
/// ```
/// use seq2seq_core::{HostTensor, backend::check::additive};
///
/// assert_eq!(additive(&HostTensor::from_f32(vec![3], &[1.0, 2.0, 3.0])?)?, 3);
/// assert!(additive(&HostTensor::from_f32(vec![3], &[1.0, 2.0, f32::NAN])?).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Ragged, backend::check::additive_memory};
///
/// let sources = Ragged::from_lengths([3, 2]);
/// additive_memory(&tensor(5, 8)?, &tensor(5, 16)?, &sources)?;
/// let error = additive_memory(&tensor(5, 8)?, &tensor(4, 16)?, &sources).unwrap_err();
/// assert_eq!(error.to_string(), "additive_memory: rows of the values is 4, expected 5");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn additive_memory<T: Rows>(keys: &T, values: &T, rows: &Ragged) -> Result<()> {
    const OP: &str = "additive_memory";
    Error::expect(OP, "rows of the keys", rows.rows(), keys.rows())?;
    Error::expect(OP, "rows of the values", rows.rows(), values.rows())
}

/// For [`RecurrentOps::additive_attend`](crate::RecurrentOps::additive_attend): v of `width` values, a memory of `held`
/// sources with keys of `key_width` columns.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Ragged, backend::check::additive_attend};
///
/// // Three hypotheses with queries of 8 columns, as v and the keys of two sources have.
/// let (q, rows) = (tensor(3, 8)?, Ragged::single_rows(3));
/// additive_attend(&q, &rows, 8, &[0, 0, 1], (2, 8))?;
/// let error = additive_attend(&q, &rows, 8, &[0, 0, 1], (2, 16)).unwrap_err();
/// assert_eq!(error.to_string(), "additive_attend: width of the keys is 16, expected 8");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
