//! Checks that every backend shares, so that each gives the same error for the same mistake.
//!
//! A backend calls the function named after its operation before it touches data. What comes back is
//! the shape that the operands agree on.

mod attention;
mod choice;
mod recurrent;
mod train;

pub use attention::*;
pub use choice::*;
pub use recurrent::*;
pub use train::*;

use super::{Epilogue, Lookup, Rows};
use crate::{
    DType, Error, Format, HostTensor, LinearPart, LinearSpec, NormKind, NormSpec, Quantisation,
    Ragged, Result, quant,
};

/// The sizes of a linear layer.
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
pub fn finite(op: &'static str, what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(()),
        false => Err(not_finite(op, what)),
    }
}

/// The error for a weight that is NaN or infinite, as given or once it is in its format.
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
pub fn upload(host: &HostTensor) -> Result<[usize; 2]> {
    float("upload", "the tensor", host)
}

/// For [`Backend::pack`](super::Backend::pack). Checks shapes, types, biases and `scale`; whether the weights are
/// finite is for the packing loop to find ([`not_finite`] with "weight").
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
pub fn linear<T: Rows>(x: &T, shape: LinearShape, epilogue: &Epilogue<'_, T>) -> Result<()> {
    const OP: &str = "linear";
    Error::expect(OP, "input width", shape.input, x.width())?;
    if let Some(residual) = epilogue.residual {
        Error::expect(OP, "width of the residual", shape.output, residual.width())?;
        Error::expect(OP, "rows of the residual", x.rows(), residual.rows())?;
    }
    Ok(())
}

/// For [`Backend::embedding`](super::Backend::embedding): rows and width of the table.
pub fn embedding(table: &HostTensor) -> Result<[usize; 2]> {
    float("embedding", "the table", table)
}

/// For [`Backend::embed`](super::Backend::embed), where `shape` gives rows and width of a table: N and M.
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
pub fn gather_rows(x: &impl Rows, rows: &[usize]) -> Result<()> {
    Error::check_range("gather_rows", "row", rows.iter().copied(), x.rows())
}

/// For [`Backend::pool`](super::Backend::pool).
pub fn pool(x: &impl Rows, rows: &Ragged) -> Result<()> {
    Error::expect("pool", "rows", rows.rows(), x.rows())?;
    match rows.lengths().position(|n| n == 0) {
        None => Ok(()),
        Some(i) => Err(Error::invalid("pool", format!("sequence {i} is empty"))),
    }
}
