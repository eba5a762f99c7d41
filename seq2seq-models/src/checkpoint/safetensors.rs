//! The header of a safetensors file, read with distrust.
//!
//! The format: 8 bytes with the header's length n, n bytes of JSON, then the tensors back to back. The `safetensors`
//! crate checks that the tensors cover the rest of the file exactly; here its verdicts get words that help.

use crate::{Error, Result};
use ::safetensors::{Dtype, SafeTensorError, SafeTensors};
use seq2seq_core::DType;
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::Path,
};

/// What the header of a file says.
#[derive(Debug)]
pub(crate) struct Header {
    /// The tensors by name.
    pub(crate) tensors: BTreeMap<String, Entry>,
    /// Words about the file.
    pub(crate) metadata: HashMap<String, String>,
}

/// Where one tensor lies in its file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Byte range in the file.
    pub(crate) range: Range<usize>,
}

impl Entry {
    /// Its element type; `None` where the engine has no use for it. Signed bytes mean something in converted folders only.
    pub(crate) fn element(&self) -> Option<DType> {
        Some(match self.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::U8 => DType::U8,
            _ => return None,
        })
    }

    /// The error for an element type that cannot be read.
    pub(crate) fn unreadable(&self, path: &Path, tensor: &str) -> Error {
        let (path, tensor, found) = (path.into(), tensor.into(), format!("{:?}", self.dtype));
        Error::TensorType { path, tensor, found }
    }
}

/// The header of a file; `path` is for messages.
pub(crate) fn read_header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|e| Error::file(path, explain(&e, bytes)))?;
    let start = 8 + header;
    let entries = metadata.tensors().into_iter().map(|(name, info)| {
        let (begin, end) = info.data_offsets;
        let range = start + begin..start + end;
        (name, Entry { dtype: info.dtype, shape: info.shape.clone(), range })
    });
    let words = metadata.metadata().clone().unwrap_or_default();
    Ok(Header { tensors: entries.collect(), metadata: words })
}

fn explain(error: &SafeTensorError, bytes: &[u8]) -> String {
    let held = bytes.len();
    let promised = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
    match error {
        SafeTensorError::HeaderTooSmall => {
            format!("is no safetensors file: it has {held} bytes, its header alone needs 8")
        }
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => format!(
            "is truncated or no safetensors file: it promises a header of {promised} bytes and has {held} in all"
        ),
        SafeTensorError::MetadataIncompleteBuffer => format!(
            "is truncated or has bytes too many: its tensors do not end where the file ends (at byte {held})"
        ),
        SafeTensorError::InvalidHeader(e) => format!("its header is not UTF-8: {e}"),
        SafeTensorError::InvalidHeaderDeserialization(e) | SafeTensorError::JsonError(e) => {
            format!("its header is not the JSON expected: {e}")
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("the byte range of tensor '{name}' overlaps another or leaves a gap")
        }
        SafeTensorError::TensorInvalidInfo => {
            "the byte range of a tensor is not as long as its shape and type need".into()
        }
        SafeTensorError::ValidationOverflow => "the shape of a tensor overflows".into(),
        other => format!("is no valid safetensors file: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        bytes
    }

    fn complaint(bytes: &[u8]) -> String {
        read_header(Path::new("m.safetensors"), bytes).unwrap_err().to_string()
    }

    const ONE: &str = r#"{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;

    #[test]
    fn reads_names_shapes_and_ranges() {
        let header = read_header(Path::new("x"), &file(ONE, 24)).unwrap();
        let w = &header.tensors["w"];
        assert_eq!((w.dtype, &w.shape[..]), (Dtype::F32, &[2, 3][..]));
        assert_eq!(w.range, 8 + ONE.len()..8 + ONE.len() + 24);
    }

    #[test]
    fn damaged_files_are_named_and_explained() {
        assert!(complaint(b"").contains("m.safetensors"));
        assert!(complaint(b"abc").contains("3 bytes"));
        let mut huge = file(ONE, 24);
        huge[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
        assert!(complaint(&huge).contains("1152921504606846976"));
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(complaint(&huge).contains("18446744073709551615"));
        assert!(complaint(&file(ONE, 23)).contains("truncated"));
        assert!(complaint(&file(ONE, 25)).contains("too many"));
        assert!(complaint(&file(ONE, 24)[..20]).contains("truncated"));
        assert!(complaint(&file("{", 0)).contains("JSON"));
        assert!(complaint(&file(&ONE.replace("24]", "20]"), 20)).contains("as long as"));
        assert!(complaint(&file(&ONE.replace("[0,", "[4,"), 24)).contains("'w'"));
        assert!(
            complaint(&file(&ONE.replace("[2,3]", "[4611686018427387904,16]"), 24))
                .contains("overflow")
        );
        assert!(complaint(&file(&ONE.replace("F32", "F99"), 24)).contains("JSON"));
    }
}
