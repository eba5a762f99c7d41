//! Weights that lie in a file as a format has them: what the file says of itself, and how it names and types them.
//!
//! The metadata of such a safetensors file are `format` = "seq2seq", `version` = "1" and `weights`, the name of the
//! [`Format`]. A matrix of a linear layer keeps its name and shape; where the same tensor is a table of embeddings too,
//! the table keeps the name and the matrix is called `<name>.linear`. All other tensors are as they were.
//!
//! | weights | element type | beside it |
//! |---|---|---|
//! | bf16 | BF16 | |
//! | int8 | I8, as [`quant`] defines it | `<name>.scale`: F32, one for each output |

use crate::{Error, Result};
use seq2seq_core::{DType, Error as OpError, Format, HostTensor, quant};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

const KIND: &str = "seq2seq";
const VERSION: &str = "1";

/// The formats that weights can be stored in; f32 is what checkpoints are.
pub(crate) const FORMATS: [(Format, DType); 2] =
    [(Format::Bf16, DType::BF16), (Format::Int8, DType::I8)];

/// What a file with weights in `format` says of itself.
pub(crate) fn metadata(format: Format) -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([("format", KIND), ("version", VERSION), ("weights", format.name())])
}

/// The format that a file's metadata name; `None` where another program wrote it.
pub(crate) fn format(path: &Path, metadata: &HashMap<String, String>) -> Result<Option<Format>> {
    let word = |key: &str| metadata.get(key).map_or("", String::as_str);
    if word("format") != KIND {
        return Ok(None);
    }
    if word("version") != VERSION {
        let reason = format!(
            "was converted by another version of this program (its layout is '{}', this one reads '{VERSION}'); \
             convert the model again",
            word("version")
        );
        return Err(Error::file(path, reason));
    }
    let known = FORMATS.into_iter().find(|(f, _)| f.name() == word("weights"));
    let unknown = || {
        let reason =
            format!("says that its weights are '{}'; there is: {}", word("weights"), names());
        Error::file(path, reason)
    };
    known.map(|(f, _)| Some(f)).ok_or_else(unknown)
}

/// The element type of weights in `format`. Fails for formats that are not stored.
pub(crate) fn dtype(format: Format) -> Result<DType> {
    let found = FORMATS.into_iter().find(|(f, _)| *f == format);
    found.map(|(_, dtype)| dtype).ok_or_else(|| {
        let what = format!("storing weights in {format}");
        OpError::Unsupported { what, hint: format!("convert to {}", names()) }.into()
    })
}

fn names() -> String {
    FORMATS.map(|(f, _)| f.name()).join(", ")
}

/// The name of a matrix whose own name is that of a table.
pub(crate) fn linear_name(name: &str) -> String {
    format!("{name}.linear")
}

/// The name of a matrix' scales.
pub(crate) fn scale_name(name: &str) -> String {
    format!("{name}.scale")
}

/// Fails, naming the output channel, where values and scale are not what quantising any run of numbers gives:
/// then packing would not give them back. Outputs lie along `axis`, and there are as many scales.
pub(crate) fn check_int8(
    values: &HostTensor,
    scales: &[f32],
    axis: usize,
) -> Result<(), (usize, String)> {
    let largest = largest(values, scales.len(), axis);
    let odd = |(scale, largest): (f32, u8)| match largest {
        // What is read is at most the largest f32. NaN and infinity equal no scale.
        127 => {
            let read = (127.0 * scale).min(f32::MAX);
            !(scale > 0.0 && quant::channel::scale_and_inverse(read).0 == scale)
        }
        0 => scale != 0.0,
        _ => true,
    };
    let mut channels = scales.iter().copied().zip(largest).enumerate();
    match channels.find(|&(_, channel)| odd(channel)) {
        None => Ok(()),
        Some((at, (scale, largest))) => Err((
            at,
            format!(
                "a scale of {scale} and values up to {largest} are no int8 weights; the file is damaged"
            ),
        )),
    }
}

/// The largest magnitude of each of `channels` along `axis`.
fn largest(values: &HostTensor, channels: usize, axis: usize) -> Vec<u8> {
    let bytes = values.bytes();
    let magnitude = |&b: &u8| (b as i8).unsigned_abs();
    if bytes.is_empty() {
        return vec![0; channels];
    }
    if axis == 0 {
        let rows = bytes.chunks(values.shape()[1]);
        return rows.map(|row| row.iter().map(magnitude).max().unwrap_or(0)).collect();
    }
    let mut largest = vec![0; channels];
    for row in bytes.chunks(channels) {
        largest.iter_mut().zip(row).for_each(|(l, b)| *l = magnitude(b).max(*l));
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[(&str, &str)]) -> Result<Option<Format>> {
        let words = words.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        format(Path::new("m.safetensors"), &words)
    }

    #[test]
    fn files_say_what_they_are() {
        for (f, _) in FORMATS {
            let words: Vec<_> = metadata(f).into_iter().collect();
            assert_eq!(said(&words).unwrap(), Some(f));
        }
        assert_eq!(said(&[("format", "pt")]).unwrap(), None);
        assert_eq!(said(&[]).unwrap(), None);
        let complaint = |words: &[_]| said(words).unwrap_err().to_string();
        let later = complaint(&[("format", KIND), ("version", "2"), ("weights", "int8")]);
        assert!(later.contains("another version") && later.contains("m.safetensors"), "{later}");
        let odd = complaint(&[("format", KIND), ("version", "1"), ("weights", "int3")]);
        assert!(odd.contains("'int3'") && odd.contains("bf16, int8"), "{odd}");
        assert!(complaint(&[("format", KIND), ("version", "1")]).contains("''"));
    }

    #[test]
    fn weights_that_nothing_quantises_to_are_refused() {
        let tensor = |values: &[i8]| {
            let bytes: Vec<u8> = values.iter().map(|&v| v as u8).collect();
            let shape = vec![2, values.len() / 2];
            let n = bytes.len();
            HostTensor::from_shared(DType::I8, shape, std::sync::Arc::new(bytes), 0..n).unwrap()
        };
        let good = tensor(&[127, 3, -127, 0, 0, 0]);
        assert_eq!(check_int8(&good, &[0.5, 0.0], 0), Ok(()));
        for scale in [f32::NAN, f32::INFINITY, -0.5, 0.0, f32::MIN_POSITIVE / 2.0, f32::MAX] {
            assert_eq!(check_int8(&good, &[scale, 0.0], 0).unwrap_err().0, 0, "{scale}");
        }
        assert_eq!(check_int8(&good, &[0.5, 0.5], 0).unwrap_err().0, 1);
        // By columns: the second has no 127.
        let columns = [0.5, 0.5, 0.5];
        assert_eq!(check_int8(&good, &columns, 1).unwrap_err().0, 1);
        assert_eq!(check_int8(&tensor(&[127, -128]), &[1.0, 1.0], 0).unwrap_err().0, 1);
    }
}
