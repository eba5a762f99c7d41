//! Files of tensors that are written one tensor after the other.

use crate::{Error, Result};
use seq2seq_core::DType;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// A tensor of a file to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
}

impl TensorInfo {
    /// Bytes of its elements.
    pub(crate) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// The header of a safetensors file, its length before it: what each tensor is and where it lies, filled up to a multiple
/// of 8 bytes. For aligned elements the widest come first.
pub(crate) fn header<'a>(
    metadata: &BTreeMap<&str, String>,
    tensors: impl IntoIterator<Item = &'a TensorInfo>,
) -> Vec<u8> {
    let mut fields = Map::new();
    if !metadata.is_empty() {
        fields.insert("__metadata__".into(), json!(metadata));
    }
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes();
        // Our element types are named as those of safetensors.
        let dtype = format!("{:?}", tensor.dtype);
        let value = json!({
            "dtype": dtype, "shape": tensor.shape, "data_offsets": [start, end],
        });
        fields.insert(tensor.name.clone(), value);
        start = end;
    }
    let mut text = Value::Object(fields).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text.into_bytes());
    header
}

/// Writes a file of tensors whose little-endian bytes `data` gives, and waits until it is on the disk. Messages call it
/// `shown`.
pub(crate) fn write(
    path: &Path,
    shown: &Path,
    metadata: &BTreeMap<&str, String>,
    tensors: &[TensorInfo],
    mut data: impl FnMut(&TensorInfo) -> Result<Vec<u8>>,
) -> Result<()> {
    let failed = |e| Error::write(shown, e);
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    file.write_all(&header(metadata, tensors)).map_err(failed)?;
    for tensor in tensors {
        file.write_all(&data(tensor)?).map_err(failed)?;
    }
    let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::safetensors::read_header;

    #[test]
    fn what_is_written_reads_back() {
        let tensor = |name: &str, dtype, shape: &[usize]| TensorInfo {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
        };
        let tensors = [tensor("b", DType::F32, &[2, 3]), tensor("a", DType::F16, &[5])];
        let words = BTreeMap::from([("format", "pt".to_owned())]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&path, &path, &words, &tensors, |t| Ok(vec![t.name.as_bytes()[0]; t.bytes()]))
            .unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let header = read_header(&path, &bytes).unwrap();
        assert_eq!(header.metadata["format"], "pt");
        assert_eq!(header.tensors["b"].shape, [2, 3]);
        assert!(bytes[header.tensors["a"].range.clone()].iter().all(|&b| b == b'a'));
        assert_eq!(header.tensors["a"].range.len(), 10);
    }
}
