//! Tensors in host memory: what checkpoints are read into and results come back as.

use crate::{Error, Result};
use half::{bf16, f16};
use std::{fmt, ops::Range, sync::Arc};

/// The element type of a [`HostTensor`], little-endian as in safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DType {
    F32,
    F16,
    BF16,
    I64,
    I32,
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::U8 => 1,
        }
    }
}

/// Bytes that somebody else may own, such as a memory-mapped file.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A row-major tensor in host memory, owned or a view of shared bytes. Cloning shares the bytes.
#[derive(Clone)]
pub struct HostTensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: SharedBytes,
    range: Range<usize>,
}

impl fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostTensor({:?} {:?})", self.dtype, self.shape)
    }
}

impl HostTensor {
    /// A view of `range` in `bytes`. Fails when the range lies outside or is not `shape` elements long.
    pub fn from_shared(
        dtype: DType,
        shape: Vec<usize>,
        bytes: SharedBytes,
        range: Range<usize>,
    ) -> Result<Self> {
        const OP: &str = "HostTensor";
        let needed = shape
            .iter()
            .try_fold(dtype.size(), |n, &d| n.checked_mul(d))
            .ok_or_else(|| Error::invalid(OP, format!("shape {shape:?} overflows")))?;
        let held = (*bytes).as_ref().len();
        if range.start > range.end || range.end > held {
            return Err(Error::invalid(
                OP,
                format!("bytes {range:?} lie outside the {held} that there are"),
            ));
        }
        Error::expect(OP, "byte length", needed, range.len())?;
        Ok(Self { dtype, shape, bytes, range })
    }

    /// An owned f32 tensor. Fails when `values` is not `shape` elements long.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let range = 0..bytes.len();
        Self::from_shared(DType::F32, shape, Arc::new(bytes), range)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.range.len() / self.dtype.size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The raw little-endian bytes. Not necessarily aligned.
    pub fn bytes(&self) -> &[u8] {
        &(*self.bytes).as_ref()[self.range.clone()]
    }

    /// The same bytes under another shape of as many elements.
    pub fn reshape(&self, shape: Vec<usize>) -> Result<Self> {
        Self::from_shared(self.dtype, shape, self.bytes.clone(), self.range.clone())
    }

    /// Rows `rows` along the outermost dimension, sharing the bytes.
    pub fn slice_rows(&self, rows: Range<usize>) -> Result<Self> {
        let (&all, rest) = self
            .shape
            .split_first()
            .ok_or_else(|| Error::invalid("slice_rows", "a scalar has no rows"))?;
        if rows.start > rows.end || rows.end > all {
            return Err(Error::invalid("slice_rows", format!("rows {rows:?} of {all}")));
        }
        let row = rest.iter().product::<usize>() * self.dtype.size();
        let start = self.range.start;
        let shape = std::iter::once(rows.len()).chain(rest.iter().copied()).collect();
        let range = start + rows.start * row..start + rows.end * row;
        Self::from_shared(self.dtype, shape, self.bytes.clone(), range)
    }

    /// Converts elements `start..start + out.len()` (row-major order) to f32 into `out`.
    ///
    /// # Panics
    /// When the run of elements lies outside the tensor.
    pub fn read_f32(&self, start: usize, out: &mut [f32]) {
        let size = self.dtype.size();
        let bytes = &self.bytes()[start * size..(start + out.len()) * size];
        fn each<const N: usize>(bytes: &[u8], out: &mut [f32], f: impl Fn([u8; N]) -> f32) {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *o = f(*b);
            }
        }
        match self.dtype {
            DType::F32 => each(bytes, out, f32::from_le_bytes),
            DType::F16 => each(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            DType::BF16 => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            DType::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f32),
            DType::I32 => each(bytes, out, |b| i32::from_le_bytes(b) as f32),
            DType::U8 => each(bytes, out, |[b]| f32::from(b)),
        }
    }

    /// All elements as f32, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        self.read_f32(0, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_share_and_check() {
        let t = HostTensor::from_f32(vec![3, 2], &[0., 1., 2., 3., 4., 5.]).unwrap();
        assert_eq!(t.slice_rows(1..3).unwrap().to_f32(), [2., 3., 4., 5.]);
        assert_eq!(t.reshape(vec![6]).unwrap().shape(), [6]);
        assert!(t.slice_rows(2..4).is_err());
        assert!(t.reshape(vec![5]).is_err());
        assert!(HostTensor::from_f32(vec![usize::MAX, 3], &[]).is_err());
    }

    #[test]
    fn halves_widen_exactly() {
        let bytes: Vec<u8> =
            [1.5f32, -0.25].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        let t = HostTensor::from_shared(DType::BF16, vec![2], Arc::new(bytes), 0..4).unwrap();
        assert_eq!(t.to_f32(), [1.5, -0.25]);
    }
}
