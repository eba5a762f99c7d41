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
pub fn repack_recurrent(held: RecurrentShape, new: RecurrentShape) -> Result<()> {
    match held == new {
        true => Ok(()),
        false => Err(Error::invalid("repack_recurrent", "the masters are not those of this layer")),
    }
}

/// For [`TrainRecurrentOps::pack_recurrent`](crate::train::TrainRecurrentOps::pack_recurrent), beside what
/// [`train_format`](super::train_format) and [`recurrent`](fn@crate::backend::check::recurrent) check.
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
pub fn stack_rows_backward<T: Rows>(dy: &T, rows: &Range<usize>, part: &Gradient<T>) -> Result<()> {
    const OP: &str = "stack_rows_backward";
    if rows.start > rows.end || rows.end > dy.rows() {
        return Err(Error::invalid(OP, format!("rows {rows:?} of {}", dy.rows())));
    }
    gradient(OP, part.as_ref(), [rows.len(), dy.width()])
}

/// For [`TrainRecurrentOps::renew_additive`](crate::train::TrainRecurrentOps::renew_additive), of a vector of `width`.
pub fn renew_additive(width: usize, v: &impl Rows) -> Result<()> {
    const OP: &str = "renew_additive";
    Error::expect(OP, "rows of v", 1, v.rows())?;
    Error::expect(OP, "length of v", width, v.width())
}

/// For [`TrainRecurrentOps::additive_attend_backward`](crate::train::TrainRecurrentOps::additive_attend_backward): v of
/// `width` values; a memory of `[S, A]` keys and `[S, M]` values in `held` sources, the longest of `longest` positions.
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
