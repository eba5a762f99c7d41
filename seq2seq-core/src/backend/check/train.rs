//! What training takes beside its forwards.

mod recurrent;

pub use recurrent::*;

use super::{LinearShape, attention, linear, runs};
use crate::train::{
    AttendBackward, CrossBackward, Dropout, Gradient, LinearBackward, LinearGradients, Looked,
    Muon, NormGradients, Second, Smoothing, Wanted,
};
use crate::{AttentionSpec, Epilogue, Error, Format, Ragged, Result, Rows};

/// For [`TrainBackend::pack_masters`](crate::train::TrainBackend::pack_masters), beside what
/// [`pack`](super::pack) checks.
pub fn train_format(format: Format) -> Result<()> {
    match Format::TRAINED.contains(&format) {
        true => Ok(()),
        false => Err(Error::Unsupported {
            what: format!("training in {format}"),
            hint: Format::TRAINED.map(Format::name).join(", "),
        }),
    }
}

/// For [`TrainBackend::repack`](crate::train::TrainBackend::repack): a layer may get other weights, not another shape.
pub fn repack(held: LinearShape, new: LinearShape, same_parts: bool) -> Result<()> {
    match held == new && same_parts {
        true => Ok(()),
        false => Err(Error::invalid("repack", "the masters are not those of this layer")),
    }
}

/// A rate from 0 to below 1.
pub fn dropout(dropout: Option<Dropout>) -> Result<()> {
    match dropout {
        Some(Dropout { rate, .. }) if !(0.0..1.0).contains(&rate) => {
            let reason = format!("a rate of {rate}, expected one from 0 to below 1");
            Err(Error::invalid("dropout", reason))
        }
        _ => Ok(()),
    }
}

/// A gradient that is to be added to has the shape of what is added.
pub fn gradient<T: Rows>(
    op: &'static str,
    held: Option<&T>,
    [rows, width]: [usize; 2],
) -> Result<()> {
    let Some(held) = held else { return Ok(()) };
    Error::expect(op, "rows of a gradient", rows, held.rows())?;
    Error::expect(op, "width of a gradient", width, held.width())
}

fn wanted<T: Rows>(op: &'static str, wanted: &Wanted<'_, T>, shape: [usize; 2]) -> Result<()> {
    gradient(op, wanted.as_ref().and_then(|g| g.as_ref()), shape)
}

fn shaped(op: &'static str, x: &impl Rows, [rows, width]: [usize; 2]) -> Result<()> {
    Error::expect(op, "rows of the gradient of the result", rows, x.rows())?;
    Error::expect(op, "width of the gradient of the result", width, x.width())
}

/// For [`TrainBackend::linear_forward`](crate::train::TrainBackend::linear_forward).
pub fn linear_forward<T: Rows>(
    x: &T,
    shape: LinearShape,
    residual: Option<&T>,
    drop: Option<Dropout>,
) -> Result<()> {
    dropout(drop)?;
    linear(x, shape, &Epilogue { residual, ..Epilogue::NONE })
}

/// For [`TrainBackend::linear_backward`](crate::train::TrainBackend::linear_backward), where `parts` are the shapes of
/// the weights and the widths of their outputs.
pub fn linear_backward<T: Rows>(
    of: &LinearBackward<'_, T>,
    (shape, gated): (LinearShape, bool),
    parts: impl ExactSizeIterator<Item = ([usize; 2], usize)>,
    gradients: &LinearGradients<'_, T>,
) -> Result<()> {
    const OP: &str = "linear_backward";
    dropout(of.dropout)?;
    Error::expect(OP, "input width", shape.input, of.x.width())?;
    shaped(OP, of.dy, [of.x.rows(), shape.output])?;
    match of.sums {
        Some(sums) => {
            Error::expect(OP, "rows of the sums", of.x.rows(), sums.rows())?;
            Error::expect(OP, "width of the sums", shape.product, sums.width())?;
        }
        None if gated || of.activation.is_some() => {
            return Err(Error::invalid(OP, "the sums were not kept by the forward"));
        }
        None => {}
    }
    wanted(OP, &gradients.x, [of.x.rows(), shape.input])?;
    Error::expect(OP, "gradients of parts", parts.len(), gradients.parts.len())?;
    for ([weight, bias], (shape, output)) in gradients.parts.iter().zip(parts) {
        wanted(OP, weight, shape)?;
        wanted(OP, bias, [1, output])?;
    }
    Ok(())
}

/// For [`TrainBackend::embed_backward`](crate::train::TrainBackend::embed_backward).
pub fn embed_backward<T: Rows>(looked: Looked<'_>, dy: &T, table: &Gradient<T>) -> Result<()> {
    const OP: &str = "embed_backward";
    Error::expect(OP, "ids of a lookup", dy.rows(), looked.ids.len())?;
    let ids = looked.ids.iter().map(|&id| id as usize);
    Error::check_range(OP, "id", ids, looked.table_rows)?;
    gradient(OP, table.as_ref(), [looked.table_rows, dy.width()])
}

/// For [`TrainBackend::norm_backward`](crate::train::TrainBackend::norm_backward), over weights of `width`: how many runs of it
/// there are.
pub fn norm_backward<T: Rows>(
    x: &T,
    width: usize,
    dy: &T,
    gradients: &NormGradients<'_, T>,
) -> Result<usize> {
    const OP: &str = "norm_backward";
    let runs = runs(OP, x, width)?;
    shaped(OP, dy, [x.rows(), x.width()])?;
    wanted(OP, &gradients.x, [x.rows(), x.width()])?;
    wanted(OP, &gradients.weight, [1, width])?;
    wanted(OP, &gradients.bias, [1, width])?;
    Ok(runs)
}

/// Vectors that take the place of others of `width`.
pub fn renew_norm<T: Rows>(
    width: usize,
    weight: &T,
    (has_bias, bias): (bool, Option<&T>),
) -> Result<()> {
    const OP: &str = "renew_norm";
    Error::expect(OP, "biases", usize::from(has_bias), usize::from(bias.is_some()))?;
    for vector in [Some(weight), bias].into_iter().flatten() {
        Error::expect(OP, "rows of a vector", 1, vector.rows())?;
        Error::expect(OP, "length of a vector", width, vector.width())?;
    }
    Ok(())
}

/// A table that takes the place of one of `[buckets, H]`.
pub fn renew_relative_bias(table: &impl Rows, [buckets, heads]: [usize; 2]) -> Result<()> {
    const OP: &str = "renew_relative_bias";
    Error::expect(OP, "buckets", buckets, table.rows())?;
    Error::expect(OP, "heads", heads, table.width())
}

/// What a forward of attention keeps, and the gradient of its result.
fn kept<T: Rows>(
    op: &'static str,
    rows: usize,
    spec: &AttentionSpec,
    (y, log_sums, dy): (&T, &T, &T),
) -> Result<()> {
    Error::expect(op, "rows of the result", rows, y.rows())?;
    Error::expect(op, "width of the result", spec.inner(), y.width())?;
    Error::expect(op, "rows of the logarithms", rows, log_sums.rows())?;
    Error::expect(op, "width of the logarithms", spec.heads, log_sums.width())?;
    shaped(op, dy, [rows, spec.inner()])
}

/// For [`TrainBackend::attend_backward`](crate::train::TrainBackend::attend_backward); `table` is the shape of the
/// relative bias, if there is one.
pub fn attend_backward<T: Rows, R>(
    of: &AttendBackward<'_, T, R>,
    table: Option<[usize; 2]>,
    gradients: (&Wanted<'_, T>, &Wanted<'_, T>),
) -> Result<()> {
    const OP: &str = "attend_backward";
    dropout(of.dropout)?;
    attention(OP, of.qkv, of.spec.qkv_width(), of.rows, of.spec)?;
    let heads = table.map_or(of.spec.heads, |[_, heads]| heads);
    Error::expect(OP, "heads of the relative bias", of.spec.heads, heads)?;
    kept(OP, of.qkv.rows(), of.spec, (of.y, of.log_sums, of.dy))?;
    wanted(OP, gradients.0, [of.qkv.rows(), of.spec.qkv_width()])?;
    match (table, gradients.1) {
        (None, Some(_)) => Err(Error::invalid(OP, "there is no relative bias to have a gradient")),
        (None, None) => Ok(()),
        (Some(shape), table) => wanted(OP, table, shape),
    }
}

/// For [`TrainBackend::cross_attend_backward`](crate::train::TrainBackend::cross_attend_backward).
pub fn cross_attend_backward<T: Rows, M>(
    of: &CrossBackward<'_, T, M>,
    gradients: (&Wanted<'_, T>, &Wanted<'_, T>),
) -> Result<()> {
    const OP: &str = "cross_attend_backward";
    dropout(of.dropout)?;
    attention(OP, of.q, of.spec.inner(), of.rows, of.spec)?;
    attention(OP, of.kv, 2 * of.spec.kv_width(), of.source_rows, of.spec)?;
    Error::expect(OP, "sources", of.rows.sequences(), of.sources.len())?;
    let sources = of.sources.iter().copied();
    Error::check_range(OP, "source", sources, of.source_rows.sequences())?;
    kept(OP, of.q.rows(), of.spec, (of.y, of.log_sums, of.dy))?;
    wanted(OP, gradients.0, [of.q.rows(), of.spec.inner()])?;
    wanted(OP, gradients.1, [of.kv.rows(), 2 * of.spec.kv_width()])
}

/// For [`TrainBackend::gather_rows_backward`](crate::train::TrainBackend::gather_rows_backward).
pub fn gather_rows_backward<T: Rows>(
    dy: &T,
    rows: &[usize],
    count: usize,
    dx: &Gradient<T>,
) -> Result<()> {
    const OP: &str = "gather_rows_backward";
    Error::expect(OP, "rows of the gradient of the result", rows.len(), dy.rows())?;
    Error::check_range(OP, "row", rows.iter().copied(), count)?;
    gradient(OP, dx.as_ref(), [count, dy.width()])
}

/// For [`TrainBackend::pool_backward`](crate::train::TrainBackend::pool_backward).
pub fn pool_backward<T: Rows>(dy: &T, rows: &Ragged, dx: &Gradient<T>) -> Result<()> {
    const OP: &str = "pool_backward";
    Error::expect(OP, "rows of the gradient of the result", rows.sequences(), dy.rows())?;
    if let Some(i) = rows.lengths().position(|n| n == 0) {
        return Err(Error::invalid(OP, format!("sequence {i} is empty")));
    }
    gradient(OP, dx.as_ref(), [rows.rows(), dy.width()])
}

/// For [`TrainBackend::cross_entropy`](crate::train::TrainBackend::cross_entropy).
pub fn cross_entropy(
    logits: &impl Rows,
    targets: &[Option<u32>],
    smoothing: Smoothing,
) -> Result<()> {
    const OP: &str = "cross_entropy";
    Error::expect(OP, "targets", logits.rows(), targets.len())?;
    for (at, index) in targets.iter().enumerate().filter_map(|(i, t)| t.map(|t| (i, t as usize))) {
        let limit = logits.width();
        if index >= limit {
            return Err(Error::OutOfRange { op: OP, what: "target", at, index, limit });
        }
    }
    let epsilon = smoothing.epsilon();
    if !(0.0..=1.0).contains(&epsilon) {
        return Err(Error::invalid(OP, format!("smoothing by {epsilon}, expected 0 to 1")));
    }
    Ok(())
}

/// What belongs to a parameter, for a step of an optimiser.
fn step(op: &'static str, tensor: &impl Rows, [rows, width]: [usize; 2]) -> Result<()> {
    Error::expect(op, "rows", rows, tensor.rows())?;
    Error::expect(op, "width", width, tensor.width())
}

/// For [`OptimiserOps::adamw`](crate::train::OptimiserOps::adamw).
pub fn adamw<T: Rows>(parameter: &T, gradient: &T, moments: &[T; 2]) -> Result<()> {
    let shape = [parameter.rows(), parameter.width()];
    let [first, second] = moments;
    [gradient, first, second].into_iter().try_for_each(|tensor| step("adamw", tensor, shape))
}

/// For [`OptimiserOps::sgd`](crate::train::OptimiserOps::sgd).
pub fn sgd<T: Rows>(parameter: &T, gradient: &T, velocity: Option<&T>) -> Result<()> {
    let shape = [parameter.rows(), parameter.width()];
    [Some(gradient), velocity]
        .into_iter()
        .flatten()
        .try_for_each(|tensor| step("sgd", tensor, shape))
}

/// For [`OptimiserOps::adafactor`](crate::train::OptimiserOps::adafactor).
pub fn adafactor<T: Rows>(parameter: &T, gradient: &T, second: &Second<T>) -> Result<()> {
    const OP: &str = "adafactor";
    let [rows, columns] = [parameter.rows(), parameter.width()];
    step(OP, gradient, [rows, columns])?;
    match second {
        Second::Full(held) => step(OP, held, [rows, columns]),
        Second::Factored(factors) => {
            step(OP, &factors.rows, [1, rows])?;
            step(OP, &factors.columns, [1, columns])?;
            match rows * columns {
                0 => Err(Error::invalid(OP, "an empty matrix has no factors")),
                _ => Ok(()),
            }
        }
    }
}

/// For [`OptimiserOps::muon`](crate::train::OptimiserOps::muon).
pub fn muon<T: Rows>(settings: &Muon, parameter: &T, gradient: &T, momentum: &T) -> Result<()> {
    train_format(settings.format)?;
    let shape = [parameter.rows(), parameter.width()];
    [gradient, momentum].into_iter().try_for_each(|tensor| step("muon", tensor, shape))
}
