//! Checks that every backend shares, so that each gives the same error for the same mistake.
//!
//! A backend calls the function named after its operation before it touches data. What comes back is
//! the shape that the operands agree on.

mod attention;
mod choice;
mod convolution;
mod recurrent;
mod train;

pub use attention::*;
pub use choice::*;
pub use convolution::*;
pub use recurrent::*;
pub use train::*;

use super::{Epilogue, Lookup, Rows};
use crate::{
    DType, Error, Format, HostTensor, LinearPart, LinearSpec, NormKind, NormSpec, Quantisation,
    Ragged, Result, quant,
};

/// The sizes of a linear layer.
///
/// ```
/// use seq2seq_core::{Format, HostTensor, LinearPart, LinearSpec, backend::check};
///
/// let part = || {
///     let weight = HostTensor::from_f32(vec![4, 3], &[0.5; 12])?;
///     Ok::<_, seq2seq_core::Error>(LinearPart { weight, bias: None, transposed: false })
/// };
/// // Gate and up: rows of 3 make sums of 8, and these a result of 4.
/// let spec = LinearSpec { parts: vec![part()?, part()?], gated: true, scale: 1.0 };
/// let shape = check::pack(&spec, Format::F32)?;
/// assert_eq!((shape.input, shape.product, shape.output), (3, 8, 4));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearShape {
    /// Columns of the input: the length of each reduction.
    pub input: usize,
    /// Rows of all parts together.
    pub product: usize,
    /// Columns of the result: `product`, or half of it in a gated layer.
    pub output: usize,
}

/// A tensor of a float type with `N` dimensions; gives its sizes.
fn float<const N: usize>(
    op: &'static str,
    what: &'static str,
    t: &HostTensor,
) -> Result<[usize; N]> {
    if !matches!(t.dtype(), DType::F32 | DType::F16 | DType::BF16) {
        let reason = format!("{what} is {:?}; convert it to F32, F16 or BF16", t.dtype());
        return Err(Error::invalid(op, reason));
    }
    t.shape().try_into().map_err(|_| {
        let reason = format!("{what} has the shape {:?}, expected {N} dimensions", t.shape());
        Error::invalid(op, reason)
    })
}

/// Values that are all finite.
///
/// ```
/// use seq2seq_core::backend::check::finite;
///
/// finite("pack", "weight", &[1.0, -0.0, f32::MIN_POSITIVE])?;
/// let error = finite("pack", "weight", &[1.0, f32::NAN]).unwrap_err();
/// assert!(error.to_string().starts_with("pack: weight holds NaN or infinity"));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn finite(op: &'static str, what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(()),
        false => Err(not_finite(op, what)),
    }
}

/// The error for a weight that is NaN or infinite, as given or once it is in its format.
///
/// ```
/// use half::f16;
/// use seq2seq_core::backend::check::not_finite;
///
/// // A packing loop sees each weight in its format anyway, and need not walk through them twice.
/// let pack = |weights: &[f32]| {
///     let packed: Vec<f16> = weights.iter().map(|&w| f16::from_f32(w)).collect();
///     packed.iter().all(|w| w.is_finite()).then_some(packed).ok_or_else(|| not_finite("pack", "weight"))
/// };
/// assert_eq!(pack(&[1.5])?, [f16::from_f32(1.5)]);
/// assert!(pack(&[70_000.0]).is_err()); // a number, but none that f16 can hold
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn not_finite(op: &'static str, what: &'static str) -> Error {
    Error::invalid(op, format!("{what} holds NaN or infinity, or a value too large for the format"))
}

fn finite_tensor(op: &'static str, what: &'static str, t: &HostTensor) -> Result<()> {
    let mut chunk = [0.0; 512];
    let mut at = 0;
    while at < t.len() {
        let n = chunk.len().min(t.len() - at);
        t.read_f32(at, &mut chunk[..n]);
        finite(op, what, &chunk[..n])?;
        at += n;
    }
    Ok(())
}

/// For [`Backend::upload`](super::Backend::upload): rows and width.
///
/// ```
/// use seq2seq_core::{HostTensor, backend::check};
///
/// assert_eq!(check::upload(&HostTensor::from_f32(vec![2, 3], &[0.0; 6])?)?, [2, 3]);
/// let vector = HostTensor::from_f32(vec![6], &[0.0; 6])?;
/// let error = check::upload(&vector).unwrap_err();
/// assert_eq!(error.to_string(), "upload: the tensor has the shape [6], expected 2 dimensions");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn upload(host: &HostTensor) -> Result<[usize; 2]> {
    float("upload", "the tensor", host)
}

/// For [`Backend::pack`](super::Backend::pack). Checks shapes, types, biases and `scale`; whether the weights are
/// finite is for the packing loop to find ([`not_finite`] with "weight").
///
/// ```
/// use seq2seq_core::{Format, HostTensor, LinearSpec, backend::check};
///
/// let weight = HostTensor::from_f32(vec![2, 3], &[0.5; 6])?;
/// let bias = |length| HostTensor::from_f32(vec![length], &vec![0.0; length]);
/// check::pack(&LinearSpec::single(weight.clone(), Some(bias(2)?)), Format::Bf16)?;
/// let error = check::pack(&LinearSpec::single(weight, Some(bias(3)?)), Format::Bf16).unwrap_err();
/// assert_eq!(error.to_string(), "pack: length of a bias is 3, expected 2");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn pack(spec: &LinearSpec, format: Format) -> Result<LinearShape> {
    const OP: &str = "pack";
    let mut shape = LinearShape { input: 0, product: 0, output: 0 };
    for (i, part) in spec.parts.iter().enumerate() {
        let [rows, columns] = match part.weight.quantisation() {
            Some(quantisation) => quantised(part, quantisation, format)?,
            None => float(OP, "weight", &part.weight)?,
        };
        let (output, input) = if part.transposed { (columns, rows) } else { (rows, columns) };
        if input == 0 || output == 0 {
            return Err(Error::invalid(OP, format!("part {i} is {output} x {input}, empty")));
        }
        if i == 0 {
            shape.input = input;
        }
        Error::expect(OP, "input width of a part", shape.input, input)?;
        if spec.gated && i == 1 {
            Error::expect(OP, "output width of the up part", shape.product, output)?;
        }
        if let Some(bias) = &part.bias {
            let [length] = float(OP, "bias", bias)?;
            Error::expect(OP, "length of a bias", output, length)?;
            finite_tensor(OP, "bias", bias)?;
        }
        shape.product += output;
    }
    if spec.parts.is_empty() {
        return Err(Error::invalid(OP, "no parts; a layer has at least one matrix"));
    }
    if spec.gated {
        Error::expect(OP, "parts of a gated layer", 2, spec.parts.len())?;
    }
    if !spec.scale.is_finite() {
        return Err(Error::invalid(OP, format!("scale is {}, expected a number", spec.scale)));
    }
    if format == Format::Int8 && shape.input > quant::MAX_REDUCTION {
        let reason = format!(
            "int8 sums over {} columns may overflow; use f32 or bf16 above {}",
            shape.input,
            quant::MAX_REDUCTION
        );
        return Err(Error::invalid(OP, reason));
    }
    shape.output = if spec.gated { shape.product / 2 } else { shape.product };
    Ok(shape)
}

/// A weight that is quantised already gives the format that it was quantised for, and no other.
fn quantised(part: &LinearPart, quantisation: &Quantisation, format: Format) -> Result<[usize; 2]> {
    const OP: &str = "pack";
    let (its, outputs) = match quantisation {
        Quantisation::Channels { axis, .. } => (Format::Int8, *axis),
        Quantisation::Groups { .. } => (Format::Int4, 0),
    };
    if format != its {
        let reason = format!("weight is quantised to {its}; {format} cannot be had from it");
        return Err(Error::invalid(OP, reason));
    }
    if outputs != usize::from(part.transposed) {
        return Err(Error::invalid(OP, "weight has its scales along the input, not the output"));
    }
    Ok([part.weight.shape()[0], part.weight.shape()[1]])
}

/// For [`Backend::linear`](super::Backend::linear).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Epilogue, backend::check::{LinearShape, linear}};
///
/// let shape = LinearShape { input: 3, product: 2, output: 2 };
/// linear(&tensor(5, 3)?, shape, &Epilogue::residual(&tensor(5, 2)?))?;
/// let error = linear(&tensor(5, 3)?, shape, &Epilogue::residual(&tensor(5, 3)?)).unwrap_err();
/// assert_eq!(error.to_string(), "linear: width of the residual is 3, expected 2");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn linear<T: Rows>(x: &T, shape: LinearShape, epilogue: &Epilogue<'_, T>) -> Result<()> {
    linear_of([x.rows(), x.width()], shape, epilogue)
}

fn linear_of<T: Rows>(
    [rows, width]: [usize; 2],
    shape: LinearShape,
    epilogue: &Epilogue<'_, T>,
) -> Result<()> {
    const OP: &str = "linear";
    Error::expect(OP, "input width", shape.input, width)?;
    if let Some(residual) = epilogue.residual {
        Error::expect(OP, "width of the residual", shape.output, residual.width())?;
        Error::expect(OP, "rows of the residual", rows, residual.rows())?;
    }
    Ok(())
}

/// For [`Backend::feed_forward`](super::Backend::feed_forward), of layers of these shapes: as [`linear`] for one after the other.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Epilogue, backend::check::{LinearShape, feed_forward}};
///
/// let shape = |input, output| LinearShape { input, product: output, output };
/// let (x, none) = (tensor(5, 3)?, Epilogue::NONE);
/// feed_forward(&x, [shape(3, 8), shape(8, 3)], [&none, &Epilogue::residual(&x)])?;
/// let error = feed_forward(&x, [shape(3, 8), shape(9, 3)], [&none, &none]).unwrap_err();
/// assert_eq!(error.to_string(), "linear: input width is 8, expected 9");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn feed_forward<T: Rows>(
    x: &T,
    [first, second]: [LinearShape; 2],
    [inner, outer]: [&Epilogue<'_, T>; 2],
) -> Result<()> {
    linear(x, first, inner)?;
    linear_of([x.rows(), first.output], second, outer)
}

/// For [`Backend::embedding`](super::Backend::embedding): rows and width of the table.
///
/// ```
/// use seq2seq_core::{HostTensor, backend::check};
///
/// let table = HostTensor::from_f32(vec![100, 8], &[0.0; 800])?;
/// assert_eq!(check::embedding(&table)?, [100, 8]);
/// // NaN may stand in a row: to look for it would read all of a mapped file.
/// check::embedding(&HostTensor::from_f32(vec![1, 2], &[f32::NAN; 2])?)?;
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn embedding(table: &HostTensor) -> Result<[usize; 2]> {
    float("embedding", "the table", table)
}

/// For [`Backend::embed`](super::Backend::embed), where `shape` gives rows and width of a table: N and M.
///
/// ```
/// use seq2seq_core::{Lookup, backend::check};
///
/// // Here a table is but its sizes.
/// let lookup = |table, ids| Lookup { table, ids, scale: 1.0 };
/// let shape = |table: &[usize; 2]| *table;
/// assert_eq!(check::embed(&[lookup(&[100, 8], &[7, 99]), lookup(&[2, 8], &[0, 1])], shape)?, [2, 8]);
/// let error = check::embed(&[lookup(&[100, 8], &[7, 100])], shape).unwrap_err();
/// assert_eq!(error.to_string(), "embed: id 100 at position 1 is out of range (there are 100)");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn embed<E>(lookups: &[Lookup<'_, E>], shape: impl Fn(&E) -> [usize; 2]) -> Result<[usize; 2]> {
    const OP: &str = "embed";
    let first = lookups.first().ok_or_else(|| Error::invalid(OP, "no lookups; give one"))?;
    let (rows, [_, width]) = (first.ids.len(), shape(first.table));
    for lookup in lookups {
        let [limit, m] = shape(lookup.table);
        Error::expect(OP, "width of a table", width, m)?;
        Error::expect(OP, "ids of a lookup", rows, lookup.ids.len())?;
        Error::check_range(OP, "id", lookup.ids.iter().map(|&i| i as usize), limit)?;
    }
    Ok([rows, width])
}

/// For [`Backend::norm_weights`](super::Backend::norm_weights): M.
///
/// ```
/// use seq2seq_core::{HostTensor, NormKind, NormSpec, backend::check};
///
/// let weight = HostTensor::from_f32(vec![4], &[1.0; 4])?;
/// let bias = Some(HostTensor::from_f32(vec![4], &[0.0; 4])?);
/// let spec = NormSpec { kind: NormKind::Layer, eps: 1e-5, weight, bias };
/// assert_eq!(check::norm_weights(&spec)?, 4);
/// let error = check::norm_weights(&NormSpec { kind: NormKind::Rms, ..spec }).unwrap_err();
/// assert_eq!(error.to_string(), "norm_weights: RMSNorm has no bias; use LayerNorm");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn norm_weights(spec: &NormSpec) -> Result<usize> {
    const OP: &str = "norm_weights";
    let [width] = float(OP, "weight", &spec.weight)?;
    if width == 0 {
        return Err(Error::invalid(OP, "weight is empty"));
    }
    finite_tensor(OP, "weight", &spec.weight)?;
    if let Some(bias) = &spec.bias {
        if spec.kind == NormKind::Rms {
            return Err(Error::invalid(OP, "RMSNorm has no bias; use LayerNorm"));
        }
        let [length] = float(OP, "bias", bias)?;
        Error::expect(OP, "length of the bias", width, length)?;
        finite_tensor(OP, "bias", bias)?;
    }
    if !spec.eps.is_finite() || spec.eps < 0.0 {
        return Err(Error::invalid(OP, format!("eps is {}, expected 0 or more", spec.eps)));
    }
    Ok(width)
}

/// For [`Backend::norm`](super::Backend::norm), over weights of `width`: how many runs of it there are.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::norm;
///
/// assert_eq!(norm(&tensor(3, 8)?, 8)?, 3); // rows as a whole
/// assert_eq!(norm(&tensor(3, 8)?, 2)?, 12); // heads of two columns
/// assert!(norm(&tensor(3, 8)?, 5).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn norm(x: &impl Rows, width: usize) -> Result<usize> {
    runs("norm", x, width)
}

/// How many runs of `width` columns the rows of x have together, which are at least one each.
fn runs(op: &'static str, x: &impl Rows, width: usize) -> Result<usize> {
    if x.width() == 0 || !x.width().is_multiple_of(width) {
        Error::expect(op, "width, or a multiple of it", width, x.width())?;
    }
    Ok(x.rows() * (x.width() / width))
}

/// For [`Backend::gather_rows`](super::Backend::gather_rows).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check::gather_rows;
///
/// gather_rows(&tensor(4, 8)?, &[3, 0, 3])?;
/// let error = gather_rows(&tensor(4, 8)?, &[0, 4]).unwrap_err();
/// assert_eq!(error.to_string(), "gather_rows: row 4 at position 1 is out of range (there are 4)");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn gather_rows(x: &impl Rows, rows: &[usize]) -> Result<()> {
    Error::check_range("gather_rows", "row", rows.iter().copied(), x.rows())
}

/// For [`Backend::pool`](super::Backend::pool).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Ragged, backend::check::pool};
///
/// pool(&tensor(5, 8)?, &Ragged::from_lengths([3, 2]))?;
/// let error = pool(&tensor(3, 8)?, &Ragged::from_lengths([3, 0])).unwrap_err();
/// assert_eq!(error.to_string(), "pool: sequence 1 is empty");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn pool(x: &impl Rows, rows: &Ragged) -> Result<()> {
    Error::expect("pool", "rows", rows.rows(), x.rows())?;
    match rows.lengths().position(|n| n == 0) {
        None => Ok(()),
        Some(i) => Err(Error::invalid("pool", format!("sequence {i} is empty"))),
    }
}
