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
///
/// ```
/// use seq2seq_core::{Format, backend::check::train_format};
///
/// train_format(Format::Bf16)?;
/// let error = train_format(Format::Int8).unwrap_err();
/// assert_eq!(error.to_string(), "training in int8 is not available: f32, bf16");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::backend::check::{LinearShape, repack};
///
/// let held = LinearShape { input: 3, product: 8, output: 8 };
/// repack(held, held, true)?;
/// assert!(repack(held, LinearShape { input: 4, ..held }, true).is_err());
/// // 4 + 4 columns in the place of 2 + 6, say.
/// assert!(repack(held, held, false).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn repack(held: LinearShape, new: LinearShape, same_parts: bool) -> Result<()> {
    match held == new && same_parts {
        true => Ok(()),
        false => Err(Error::invalid("repack", "the masters are not those of this layer")),
    }
}

/// A rate from 0 to below 1.
///
/// ```
/// use seq2seq_core::{backend::check, train::Dropout};
///
/// let dropout = |rate| check::dropout(Some(Dropout { rate, seed: 1, step: 0, place: 0 }));
/// dropout(0.1)?;
/// assert!(dropout(1.0).is_err()); // which would drop all, and scale nothing by infinity
/// check::dropout(None)?;
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::gradient;
///
/// gradient("linear_backward", Some(&tensor(3, 4)?), [3, 4])?;
/// let error = gradient("linear_backward", Some(&tensor(4, 3)?), [3, 4]).unwrap_err();
/// assert_eq!(error.to_string(), "linear_backward: rows of a gradient is 4, expected 3");
/// // One that has not begun has no shape yet.
/// gradient("linear_backward", None::<&seq2seq_core::reference::Tensor>, [3, 4])?;
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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

pub(super) fn shaped(op: &'static str, x: &impl Rows, [rows, width]: [usize; 2]) -> Result<()> {
    Error::expect(op, "rows of the gradient of the result", rows, x.rows())?;
    Error::expect(op, "width of the gradient of the result", width, x.width())
}

/// For [`TrainBackend::linear_forward`](crate::train::TrainBackend::linear_forward).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::{LinearShape, linear_forward};
///
/// let shape = LinearShape { input: 3, product: 2, output: 2 };
/// linear_forward(&tensor(5, 3)?, shape, Some(&tensor(5, 2)?), None)?;
/// let error = linear_forward(&tensor(5, 4)?, shape, None, None).unwrap_err();
/// assert_eq!(error.to_string(), "linear: input width is 4, expected 3");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Activation, backend::check::{LinearShape, linear_backward}};
/// use seq2seq_core::train::{LinearBackward, LinearGradients};
///
/// // A layer of one matrix, [2, 3]; what its forward kept is missing.
/// let shape = LinearShape { input: 3, product: 2, output: 2 };
/// let (x, dy) = (tensor(5, 3)?, tensor(5, 2)?);
/// let of = LinearBackward { x: &x, sums: None, activation: Some(Activation::Gelu), dropout: None, dy: &dy };
/// let (mut weight, mut bias) = (None, None);
/// let gradients = LinearGradients { x: None, parts: vec![[Some(&mut weight), Some(&mut bias)]] };
/// let parts = || [([2, 3], 2)].into_iter();
/// let error = linear_backward(&of, (shape, false), parts(), &gradients).unwrap_err();
/// assert_eq!(error.to_string(), "linear_backward: the sums were not kept by the forward");
/// // Without an activation they are not needed.
/// linear_backward(&LinearBackward { activation: None, ..of }, (shape, false), parts(), &gradients)?;
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{backend::check::embed_backward, train::Looked};
///
/// let looked = |ids| Looked { ids, scale: 1.0, table_rows: 100 };
/// embed_backward(looked(&[7, 99]), &tensor(2, 8)?, &Some(tensor(100, 8)?))?;
/// let error = embed_backward(looked(&[7, 99, 3]), &tensor(2, 8)?, &None).unwrap_err();
/// assert_eq!(error.to_string(), "embed_backward: ids of a lookup is 3, expected 2");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn embed_backward<T: Rows>(looked: Looked<'_>, dy: &T, table: &Gradient<T>) -> Result<()> {
    const OP: &str = "embed_backward";
    Error::expect(OP, "ids of a lookup", dy.rows(), looked.ids.len())?;
    let ids = looked.ids.iter().map(|&id| id as usize);
    Error::check_range(OP, "id", ids, looked.table_rows)?;
    gradient(OP, table.as_ref(), [looked.table_rows, dy.width()])
}

/// For [`TrainBackend::norm_backward`](crate::train::TrainBackend::norm_backward), over weights of `width`: how many runs of it
/// there are.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{backend::check::norm_backward, train::NormGradients};
///
/// let (x, dy, mut weight) = (tensor(3, 8)?, tensor(3, 8)?, Some(tensor(1, 4)?));
/// let gradients = NormGradients { x: None, weight: Some(&mut weight), bias: None };
/// assert_eq!(norm_backward(&x, 4, &dy, &gradients)?, 6); // two runs in each of three rows
/// assert!(norm_backward(&x, 8, &dy, &gradients).is_err()); // whose weights are 8, not 4
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::renew_norm;
///
/// let (weight, bias) = (tensor(1, 8)?, tensor(1, 8)?);
/// renew_norm(8, &weight, (true, Some(&bias)))?;
/// let error = renew_norm(8, &weight, (true, None)).unwrap_err();
/// assert_eq!(error.to_string(), "renew_norm: biases is 0, expected 1");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::renew_relative_bias;
///
/// renew_relative_bias(&tensor(32, 8)?, [32, 8])?;
/// assert!(renew_relative_bias(&tensor(8, 32)?, [32, 8]).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::reference::attention::RelativeBias;
/// use seq2seq_core::{AttentionSpec, Precision, Ragged, backend::check, train::AttendBackward};
///
/// let spec = AttentionSpec {
///     heads: 2, kv_heads: 2, head_dim: 4, scale: 0.5, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// let (qkv, y, log_sums, dy) = (tensor(5, 24)?, tensor(5, 8)?, tensor(5, 2)?, tensor(5, 8)?);
/// let (rows, bias) = (Ragged::from_lengths([3, 2]), None::<&RelativeBias>);
/// let of = AttendBackward { qkv: &qkv, y: &y, log_sums: &log_sums, rows: &rows, spec: &spec, bias, dropout: None, dy: &dy };
/// let (mut dqkv, mut table) = (Some(tensor(5, 24)?), None);
/// check::attend_backward(&of, None, (&Some(&mut dqkv), &None))?;
/// let error = check::attend_backward(&of, None, (&Some(&mut dqkv), &Some(&mut table))).unwrap_err();
/// assert_eq!(error.to_string(), "attend_backward: there is no relative bias to have a gradient");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{AttentionSpec, CrossAttentionOps, Precision, Ragged, backend::check, train::CrossBackward};
///
/// let spec = AttentionSpec {
///     heads: 2, kv_heads: 2, head_dim: 4, scale: 0.5, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// let (source_rows, rows) = (Ragged::from_lengths([4, 1]), Ragged::from_lengths([3, 2]));
/// let kv = tensor(5, 16)?;
/// let memory = Reference.memory(&kv, &source_rows, &spec)?;
/// let (q, y, log_sums, dy) = (tensor(5, 8)?, tensor(5, 8)?, tensor(5, 2)?, tensor(5, 8)?);
/// let of = CrossBackward {
///     q: &q, y: &y, log_sums: &log_sums, rows: &rows, kv: &kv, source_rows: &source_rows, memory: &memory,
///     sources: &[0, 1], spec: &spec, dropout: None, dy: &dy,
/// };
/// check::cross_attend_backward(&of, (&None, &Some(&mut None)))?;
/// let narrow = tensor(5, 4)?;
/// let error = check::cross_attend_backward(&CrossBackward { dy: &narrow, ..of }, (&None, &None)).unwrap_err();
/// assert!(error.to_string().ends_with("width of the gradient of the result is 4, expected 8"));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::gather_rows_backward;
///
/// // Two rows came of five, and go back to a gradient of five.
/// gather_rows_backward(&tensor(2, 8)?, &[4, 0], 5, &Some(tensor(5, 8)?))?;
/// assert!(gather_rows_backward(&tensor(2, 8)?, &[4, 0], 5, &Some(tensor(2, 8)?)).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Ragged, backend::check::pool_backward};
///
/// pool_backward(&tensor(2, 8)?, &Ragged::from_lengths([3, 2]), &None)?;
/// let error = pool_backward(&tensor(5, 8)?, &Ragged::from_lengths([3, 2]), &None).unwrap_err();
/// assert_eq!(error.to_string(), "pool_backward: rows of the gradient of the result is 5, expected 2");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn pool_backward<T: Rows>(dy: &T, rows: &Ragged, dx: &Gradient<T>) -> Result<()> {
    const OP: &str = "pool_backward";
    Error::expect(OP, "rows of the gradient of the result", rows.sequences(), dy.rows())?;
    if let Some(i) = rows.lengths().position(|n| n == 0) {
        return Err(Error::invalid(OP, format!("sequence {i} is empty")));
    }
    gradient(OP, dx.as_ref(), [rows.rows(), dy.width()])
}

/// For [`TrainBackend::cross_entropy`](crate::train::TrainBackend::cross_entropy).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{backend::check::cross_entropy, train::Smoothing};
///
/// let logits = tensor(3, 100)?;
/// cross_entropy(&logits, &[Some(7), None, Some(99)], Smoothing::Uniform(0.1))?;
/// let error = cross_entropy(&logits, &[Some(7), None, Some(100)], Smoothing::None).unwrap_err();
/// assert_eq!(error.to_string(), "cross_entropy: target 100 at position 2 is out of range (there are 100)");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::adamw;
///
/// let (parameter, gradient) = (tensor(3, 4)?, tensor(3, 4)?);
/// adamw(&parameter, &gradient, &[tensor(3, 4)?, tensor(3, 4)?])?;
/// let error = adamw(&parameter, &gradient, &[tensor(3, 4)?, tensor(4, 3)?]).unwrap_err();
/// assert_eq!(error.to_string(), "adamw: rows is 4, expected 3");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn adamw<T: Rows>(parameter: &T, gradient: &T, moments: &[T; 2]) -> Result<()> {
    let shape = [parameter.rows(), parameter.width()];
    let [first, second] = moments;
    [gradient, first, second].into_iter().try_for_each(|tensor| step("adamw", tensor, shape))
}

/// For [`OptimiserOps::sgd`](crate::train::OptimiserOps::sgd).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::sgd;
///
/// let (parameter, gradient) = (tensor(3, 4)?, tensor(3, 4)?);
/// sgd(&parameter, &gradient, None)?; // before the first step
/// assert!(sgd(&parameter, &gradient, Some(&tensor(3, 5)?)).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn sgd<T: Rows>(parameter: &T, gradient: &T, velocity: Option<&T>) -> Result<()> {
    let shape = [parameter.rows(), parameter.width()];
    [Some(gradient), velocity]
        .into_iter()
        .flatten()
        .try_for_each(|tensor| step("sgd", tensor, shape))
}

/// For [`OptimiserOps::adafactor`](crate::train::OptimiserOps::adafactor).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{backend::check::adafactor, train::{Factors, Second}};
///
/// let (parameter, gradient) = (tensor(3, 4)?, tensor(3, 4)?);
/// let second = Second::Factored(Factors { rows: tensor(1, 3)?, columns: tensor(1, 4)? });
/// adafactor(&parameter, &gradient, &second)?;
/// assert!(adafactor(&parameter, &gradient, &Second::Full(tensor(1, 12)?)).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Format, backend::check::muon, train::Muon};
///
/// let (parameter, gradient, momentum) = (tensor(3, 4)?, tensor(3, 4)?, tensor(3, 4)?);
/// muon(&Muon::default(), &parameter, &gradient, &momentum)?;
/// let int8 = Muon { format: Format::Int8, ..Muon::default() };
/// assert!(muon(&int8, &parameter, &gradient, &momentum).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn muon<T: Rows>(settings: &Muon, parameter: &T, gradient: &T, momentum: &T) -> Result<()> {
    train_format(settings.format)?;
    let shape = [parameter.rows(), parameter.width()];
    [gradient, momentum].into_iter().try_for_each(|tensor| step("muon", tensor, shape))
}
