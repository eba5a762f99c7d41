//! What training takes of recurrent layers, additive attention, rows and columns.

use super::super::{RecurrentShape, additive_attend};
use super::{gradient, shaped, wanted};
use crate::train::{
    AdditiveBackward, AdditiveGradients, Gradient, RecurBackward, RecurPass, RecurrentMasters,
    Wanted,
};
use crate::{Error, Result, Rows};
use std::ops::Range;

/// For [`TrainRecurrentOps::repack_recurrent`](crate::train::TrainRecurrentOps::repack_recurrent): a layer may get other
/// weights, not another shape.
///
/// ```
/// use seq2seq_core::{Cell, backend::check::{RecurrentShape, repack_recurrent}};
///
/// let held = RecurrentShape { cell: Cell::Lstm, width: 16, directions: 2 };
/// repack_recurrent(held, held)?;
/// assert!(repack_recurrent(held, RecurrentShape { directions: 1, ..held }).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn repack_recurrent(held: RecurrentShape, new: RecurrentShape) -> Result<()> {
    match held == new {
        true => Ok(()),
        false => Err(Error::invalid("repack_recurrent", "the masters are not those of this layer")),
    }
}

/// For [`TrainRecurrentOps::pack_recurrent`](crate::train::TrainRecurrentOps::pack_recurrent), beside what
/// [`train_format`](super::train_format) and [`recurrent`](fn@crate::backend::check::recurrent) check.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Cell, backend::check::recurrent_masters, train::{MasterPart, RecurrentMasters}};
///
/// let (weight, bias) = (tensor(6, 2)?, tensor(6, 1)?);
/// let part = MasterPart { weight: &weight, bias: Some(&bias), transposed: false };
/// let masters = RecurrentMasters { cell: Cell::Gru, directions: vec![part] };
/// // A vector is one row among masters, as everything of them is a matrix.
/// let error = recurrent_masters(&masters).unwrap_err();
/// assert_eq!(error.to_string(), "recurrent: rows of a bias is 6, expected 1");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn recurrent_masters<T: Rows>(masters: &RecurrentMasters<'_, T>) -> Result<()> {
    let biases = masters.directions.iter().filter_map(|part| part.bias);
    biases
        .into_iter()
        .try_for_each(|bias| Error::expect("recurrent", "rows of a bias", 1, bias.rows()))
}

/// What a recurrence began with and gave.
fn pass<T: Rows>(
    op: &'static str,
    shape: RecurrentShape,
    (rows, sequences): (usize, usize),
    (state, y): (Option<&T>, &T),
) -> Result<()> {
    Error::expect(op, "rows of the result", rows, y.rows())?;
    Error::expect(op, "width of the result", shape.output(), y.width())?;
    if let Some(state) = state {
        Error::expect(op, "rows of the state", sequences, state.rows())?;
        Error::expect(op, "width of the state", shape.state(), state.width())?;
    }
    Ok(())
}

/// For [`TrainRecurrentOps::recur_backward`](crate::train::TrainRecurrentOps::recur_backward).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Cell, Ragged, backend::check::{RecurrentShape, recur_backward}, train::RecurBackward};
///
/// let shape = RecurrentShape { cell: Cell::Gru, width: 2, directions: 1 };
/// let rows = Ragged::from_lengths([3, 2]);
/// let (y, kept, dy) = (tensor(5, 2)?, tensor(5, Cell::Gru.kept() * 2)?, tensor(5, 2)?);
/// let of = RecurBackward { rows: &rows, state: None, y: &y, kept: &kept, dy: Some(&dy), dend: None };
/// let mut state = Some(tensor(2, shape.state())?);
/// recur_backward(&of, shape, (&None, &Some(&mut state)))?;
/// let dend = tensor(5, 2)?;
/// let error = recur_backward(&RecurBackward { dend: Some(&dend), ..of }, shape, (&None, &None)).unwrap_err();
/// assert!(error.to_string().ends_with("rows of the gradient of the last state is 5, expected 2"));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn recur_backward<T: Rows>(
    of: &RecurBackward<'_, T>,
    shape: RecurrentShape,
    (x, state): (&Wanted<'_, T>, &Wanted<'_, T>),
) -> Result<()> {
    const OP: &str = "recur_backward";
    let (rows, sequences) = (of.rows.rows(), of.rows.sequences());
    pass(OP, shape, (rows, sequences), (of.state, of.y))?;
    Error::expect(OP, "rows of what was kept", rows, of.kept.rows())?;
    let kept = shape.cell.kept() * shape.output();
    Error::expect(OP, "width of what was kept", kept, of.kept.width())?;
    if let Some(dy) = of.dy {
        shaped(OP, dy, [rows, shape.output()])?;
    }
    if let Some(dend) = of.dend {
        Error::expect(OP, "rows of the gradient of the last state", sequences, dend.rows())?;
        let width = shape.state();
        Error::expect(OP, "width of the gradient of the last state", width, dend.width())?;
    }
    wanted(OP, x, [rows, shape.input()])?;
    wanted(OP, state, [sequences, shape.state()])
}

/// For [`TrainRecurrentOps::recur_weights_backward`](crate::train::TrainRecurrentOps::recur_weights_backward).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Cell, Ragged, backend::check::{RecurrentShape, recur_weights_backward}, train::RecurPass};
///
/// let shape = RecurrentShape { cell: Cell::Gru, width: 2, directions: 1 };
/// let (long, short) = (Ragged::from_lengths([3, 2]), Ragged::single_rows(2));
/// let (y, du) = ([tensor(5, 2)?, tensor(2, 2)?], [tensor(5, 6)?, tensor(2, 6)?]);
/// let passes = [
///     RecurPass { rows: &long, state: None, y: &y[0], du: &du[0] },
///     RecurPass { rows: &short, state: None, y: &y[1], du: &du[1] },
/// ];
/// let mut weight = None;
/// recur_weights_backward(&passes, shape, &[[Some(&mut weight), None]])?;
/// let error = recur_weights_backward(&passes, shape, &[]).unwrap_err();
/// assert!(error.to_string().ends_with("gradients of directions is 0, expected 1"));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn recur_weights_backward<T: Rows>(
    passes: &[RecurPass<'_, T>],
    shape: RecurrentShape,
    gradients: &[[Wanted<'_, T>; 2]],
) -> Result<()> {
    const OP: &str = "recur_weights_backward";
    for of in passes {
        let rows = of.rows.rows();
        pass(OP, shape, (rows, of.rows.sequences()), (of.state, of.y))?;
        Error::expect(OP, "rows of du", rows, of.du.rows())?;
        Error::expect(OP, "width of du", shape.input(), of.du.width())?;
    }
    Error::expect(OP, "gradients of directions", shape.directions, gradients.len())?;
    let gates = shape.cell.gates() * shape.width;
    gradients.iter().try_for_each(|[weight, bias]| {
        wanted(OP, weight, [gates, shape.width])?;
        wanted(OP, bias, [1, gates])
    })
}

/// For [`TrainRecurrentOps::columns_backward`](crate::train::TrainRecurrentOps::columns_backward).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::columns_backward;
///
/// // Columns 1 and 2 of a part of 4 stand at columns 5 and 6 of the result.
/// columns_backward(&tensor(3, 7)?, 5, (4, &(1..3)), &Some(tensor(3, 4)?))?;
/// let error = columns_backward(&tensor(3, 6)?, 5, (4, &(1..3)), &None).unwrap_err();
/// assert_eq!(error.to_string(), "columns_backward: columns 5..7 of 6 of dy");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn columns_backward<T: Rows>(
    dy: &T,
    from: usize,
    (width, columns): (usize, &Range<usize>),
    part: &Gradient<T>,
) -> Result<()> {
    const OP: &str = "columns_backward";
    for (what, columns, width) in
        [("of the part", columns.clone(), width), ("of dy", from..from + columns.len(), dy.width())]
    {
        if columns.start > columns.end || columns.end > width {
            let reason = format!("columns {columns:?} of {width} {what}");
            return Err(Error::invalid(OP, reason));
        }
    }
    gradient(OP, part.as_ref(), [dy.rows(), width])
}

/// For [`TrainRecurrentOps::stack_rows_backward`](crate::train::TrainRecurrentOps::stack_rows_backward).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::stack_rows_backward;
///
/// stack_rows_backward(&tensor(5, 8)?, &(3..5), &Some(tensor(2, 8)?))?;
/// let error = stack_rows_backward(&tensor(5, 8)?, &(3..6), &None).unwrap_err();
/// assert_eq!(error.to_string(), "stack_rows_backward: rows 3..6 of 5");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn stack_rows_backward<T: Rows>(dy: &T, rows: &Range<usize>, part: &Gradient<T>) -> Result<()> {
    const OP: &str = "stack_rows_backward";
    if rows.start > rows.end || rows.end > dy.rows() {
        return Err(Error::invalid(OP, format!("rows {rows:?} of {}", dy.rows())));
    }
    gradient(OP, part.as_ref(), [rows.len(), dy.width()])
}

/// For [`TrainRecurrentOps::renew_additive`](crate::train::TrainRecurrentOps::renew_additive), of a vector of `width`.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::renew_additive;
///
/// renew_additive(8, &tensor(1, 8)?)?;
/// assert!(renew_additive(8, &tensor(8, 1)?).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn renew_additive(width: usize, v: &impl Rows) -> Result<()> {
    const OP: &str = "renew_additive";
    Error::expect(OP, "rows of v", 1, v.rows())?;
    Error::expect(OP, "length of v", width, v.width())
}

/// For [`TrainRecurrentOps::additive_attend_backward`](crate::train::TrainRecurrentOps::additive_attend_backward): v of
/// `width` values; a memory of `[S, A]` keys and `[S, M]` values in `held` sources, the longest of `longest` positions.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Ragged, RecurrentOps, backend::check, train::{AdditiveBackward, AdditiveGradients}};
///
/// // Keys of 3 columns and values of 4, in two sources of 2 and 3 positions.
/// let (keys, values, sources) = (tensor(5, 3)?, tensor(5, 4)?, Ragged::from_lengths([2, 3]));
/// let memory = Reference.additive_memory(&keys, &values, &sources)?;
/// let v = Reference.additive(&HostTensor::from_f32(vec![3], &[1.0; 3])?)?;
/// let (q, rows, weights, dy) = (tensor(2, 3)?, Ragged::single_rows(2), tensor(2, 3)?, tensor(2, 4)?);
/// let of = AdditiveBackward { q: &q, weights: &weights, rows: &rows, v: &v, memory: &memory, sources: &[0, 1], dy: &dy };
/// let mut dv = None;
/// let gradients = AdditiveGradients { q: None, keys: None, values: None, v: Some(&mut dv) };
/// check::additive_attend_backward(&of, 3, (&keys, &values), (2, sources.longest()), &gradients)?;
/// let narrow = tensor(2, 2)?;
/// let of = AdditiveBackward { weights: &narrow, ..of };
/// let error = check::additive_attend_backward(&of, 3, (&keys, &values), (2, sources.longest()), &gradients).unwrap_err();
/// assert!(error.to_string().ends_with("width of the weights is 2, expected 3"));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn additive_attend_backward<T: Rows, V, M>(
    of: &AdditiveBackward<'_, T, V, M>,
    width: usize,
    (keys, values): (&T, &T),
    (held, longest): (usize, usize),
    gradients: &AdditiveGradients<'_, T>,
) -> Result<()> {
    const OP: &str = "additive_attend_backward";
    additive_attend(of.q, of.rows, width, of.sources, (held, keys.width()))?;
    Error::expect(OP, "rows of the weights", of.q.rows(), of.weights.rows())?;
    Error::expect(OP, "width of the weights", longest, of.weights.width())?;
    shaped(OP, of.dy, [of.q.rows(), values.width()])?;
    wanted(OP, &gradients.q, [of.q.rows(), width])?;
    wanted(OP, &gradients.keys, [keys.rows(), width])?;
    wanted(OP, &gradients.values, [values.rows(), values.width()])?;
    wanted(OP, &gradients.v, [1, width])
}
