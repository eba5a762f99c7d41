//! Weights that lie in a file as a format has them: what the file says of itself, and how it names and types them.
//!
//! The metadata of such a safetensors file are `format` = "seq2seq", `version` = "1", `weights`, the name of the
//! [`Format`], and, where some layers are in another, `exceptions`: [`ModuleFormat`]s with spaces between them. Which layer
//! is in which format then follows as it does for a model that is loaded so. A matrix of a linear layer keeps its name;
//! where the same tensor is a table of embeddings too, the table keeps the name and the matrix is called
//! `<name>.linear`. All other tensors are as they were.
//!
//! | layer in | element type | shape | `<name>.scale` |
//! |---|---|---|---|
//! | f32 | as it was | as it was | |
//! | bf16 | BF16 | as it was | |
//! | f16 | F16 | as it was | |
//! | int8 | I8, as [`quant::channel`] defines it | as it was | F32, `[outputs]` |
//! | int4 | U8: two codes of [`quant::group`], the first in the low half | `[outputs, inputs / 2]`, rounded up | BF16, `[outputs, groups]` |

use super::{Formats, ModuleFormat};
use crate::{Error, Result};
use seq2seq_core::{
    DType, Error as OpError, Format, HostTensor, Quantisation,
    quant::{self, group},
};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

const KIND: &str = "seq2seq";
const VERSION: &str = "1";

/// The formats that weights can be stored in; f32 is what checkpoints are.
const FORMATS: [Format; 4] = [Format::Bf16, Format::F16, Format::Int8, Format::Int4];

/// What a file with weights in these formats says of itself.
pub(crate) fn metadata(formats: &Formats) -> BTreeMap<&'static str, String> {
    let mut words = BTreeMap::from([
        ("format", KIND.to_owned()),
        ("version", VERSION.to_owned()),
        ("weights", formats.format.name().to_owned()),
    ]);
    if !formats.exceptions.is_empty() {
        let exceptions: Vec<_> = formats.exceptions.iter().map(ToString::to_string).collect();
        words.insert("exceptions", exceptions.join(" "));
    }
    words
}

/// The formats that a file's metadata name; `None` where another program wrote it.
pub(crate) fn formats(path: &Path, metadata: &HashMap<String, String>) -> Result<Option<Formats>> {
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
    let Some(format) = FORMATS.into_iter().find(|f| f.name() == word("weights")) else {
        let reason =
            format!("says that its weights are '{}'; there is: {}", word("weights"), names());
        return Err(Error::file(path, reason));
    };
    let exceptions: Result<Vec<ModuleFormat>> =
        word("exceptions").split_whitespace().map(str::parse).collect();
    let exceptions = exceptions.map_err(|e| Error::file(path, e.to_string()))?;
    Ok(Some(Formats { format, exceptions }))
}

/// Fails for formats that models are not stored in.
pub(crate) fn check(format: Format) -> Result<()> {
    match FORMATS.contains(&format) {
        true => Ok(()),
        false => {
            let what = format!("storing weights in {format}");
            Err(OpError::Unsupported { what, hint: format!("convert to {}", names()) }.into())
        }
    }
}

fn names() -> String {
    FORMATS.map(Format::name).join(", ")
}

/// A matrix of a linear layer and the format that the layer is stored in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Matrix {
    /// Its shape in the checkpoint that it is from.
    pub(crate) shape: [usize; 2],
    /// Whether that is `[in, out]`.
    pub(crate) transposed: bool,
    pub(crate) format: Format,
}

/// What is wrong with a stored matrix.
#[derive(Debug)]
pub(crate) enum Damage {
    /// An output channel and what is wrong with it.
    Channel(usize, String),
    Tensor(OpError),
}

impl Matrix {
    fn axis(&self) -> usize {
        usize::from(self.transposed)
    }

    pub(crate) fn outputs(&self) -> usize {
        self.shape[self.axis()]
    }

    pub(crate) fn inputs(&self) -> usize {
        self.shape[1 - self.axis()]
    }

    /// Its element type; `None` for that of the checkpoint.
    pub(crate) fn dtype(&self) -> Option<DType> {
        match self.format {
            Format::F32 => None,
            Format::Bf16 => Some(DType::BF16),
            Format::F16 => Some(DType::F16),
            Format::Int8 => Some(DType::I8),
            Format::Int4 => Some(DType::U8),
        }
    }

    /// The shape of its tensor.
    pub(crate) fn stored_shape(&self) -> [usize; 2] {
        match self.format {
            Format::Int4 => [self.outputs(), self.inputs().div_ceil(2)],
            _ => self.shape,
        }
    }

    /// Type and shape of its scales.
    pub(crate) fn scales(&self) -> Option<(DType, Vec<usize>)> {
        match self.format {
            Format::F32 | Format::Bf16 | Format::F16 => None,
            Format::Int8 => Some((DType::F32, vec![self.outputs()])),
            Format::Int4 => Some((DType::BF16, vec![self.outputs(), group::groups(self.inputs())])),
        }
    }

    /// The matrix from integers and scales as they are stored.
    pub(crate) fn quantised(
        &self,
        integers: HostTensor,
        scales: &[f32],
    ) -> Result<HostTensor, Damage> {
        let (integers, quantisation) = match self.format {
            Format::Int4 => {
                let groups = group::groups(self.inputs());
                if let Some(at) = scales.iter().position(|s| !s.is_finite()) {
                    let reason = format!("a scale of {}; the file is damaged", scales[at]);
                    return Err(Damage::Channel(at / groups, reason));
                }
                let codes = unpack_codes(integers.bytes(), self.inputs());
                let range = 0..codes.len();
                let shape = vec![self.outputs(), self.inputs()];
                let codes = HostTensor::from_shared(DType::U8, shape, Arc::new(codes), range);
                (codes.map_err(Damage::Tensor)?, Quantisation::Groups { scales: scales.into() })
            }
            _ => {
                let axis = self.axis();
                check_int8(&integers, scales, axis).map_err(|(at, r)| Damage::Channel(at, r))?;
                (integers, Quantisation::Channels { scales: scales.into(), axis })
            }
        };
        HostTensor::quantised(integers, quantisation).map_err(Damage::Tensor)
    }
}

/// Codes of a channel, two in a byte.
pub(crate) fn pack_codes(codes: &[u8]) -> impl Iterator<Item = u8> {
    codes.chunks(2).map(|pair| pair[0] | pair.get(1).copied().unwrap_or(group::ZERO) << 4)
}

/// A byte for each code of channels of `inputs` codes.
fn unpack_codes(bytes: &[u8], inputs: usize) -> Vec<u8> {
    let width = inputs.div_ceil(2).max(1);
    let mut codes = vec![0; bytes.len() / width * inputs];
    for (channel, codes) in bytes.chunks_exact(width).zip(codes.chunks_exact_mut(inputs.max(1))) {
        let (pairs, last) = codes.as_chunks_mut();
        for (codes, &pair) in pairs.iter_mut().zip(channel) {
            *codes = [pair & 15, pair >> 4];
        }
        last.iter_mut().zip(channel.last()).for_each(|(code, pair)| *code = pair & 15);
    }
    codes
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
fn check_int8(values: &HostTensor, scales: &[f32], axis: usize) -> Result<(), (usize, String)> {
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

    fn said(words: &[(&str, &str)]) -> Result<Option<Formats>> {
        let words = words.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        formats(Path::new("m.safetensors"), &words)
    }

    #[test]
    fn files_say_what_they_are() {
        for format in FORMATS {
            for exceptions in
                [vec![], vec!["*.out=f32".parse().unwrap(), "a.*=int8".parse().unwrap()]]
            {
                let formats = Formats { format, exceptions };
                let words = metadata(&formats);
                let words: Vec<_> = words.iter().map(|(k, v)| (*k, v.as_str())).collect();
                assert_eq!(said(&words).unwrap(), Some(formats));
            }
        }
        assert_eq!(said(&[("format", "pt")]).unwrap(), None);
        assert_eq!(said(&[]).unwrap(), None);
        let complaint = |words: &[_]| said(words).unwrap_err().to_string();
        let later = complaint(&[("format", KIND), ("version", "2"), ("weights", "int8")]);
        assert!(later.contains("another version") && later.contains("m.safetensors"), "{later}");
        let odd = complaint(&[("format", KIND), ("version", "1"), ("weights", "int3")]);
        assert!(odd.contains("'int3'") && odd.contains("bf16, f16, int8, int4"), "{odd}");
        let words =
            [("format", KIND), ("version", "1"), ("weights", "int4"), ("exceptions", "a=b")];
        let odd = complaint(&words);
        assert!(odd.contains("'b'") && odd.contains("m.safetensors"), "{odd}");
        assert!(complaint(&[("format", KIND), ("version", "1")]).contains("''"));
    }

    #[test]
    fn codes_lie_two_in_a_byte() {
        let codes: Vec<u8> = (0..15).collect();
        let bytes: Vec<u8> = codes.chunks(5).flat_map(pack_codes).collect();
        assert_eq!(bytes[..3], [0x10, 0x32, 0x84]);
        assert_eq!(unpack_codes(&bytes, 5), codes);
        assert_eq!(unpack_codes(&[0x21, 0x43], 2), [1, 2, 3, 4]);
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
