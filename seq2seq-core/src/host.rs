//! Tensors in host memory: what checkpoints are read into and results come back as.

use crate::{Error, Result, quant::group};
use half::{bf16, f16};
use std::{fmt, ops::Range, sync::Arc};

/// The element type of a [`HostTensor`], little-endian as in safetensors.
///
/// ```
/// use seq2seq_core::{DType, HostTensor};
/// use std::sync::Arc;
///
/// // 1 and -2 in the bytes of bf16: two a number, the upper half of the f32.
/// let bytes = Arc::new(vec![0x80, 0x3f, 0x00, 0xc0]);
/// assert_eq!(bytes.len(), 2 * DType::BF16.size());
/// let x = HostTensor::from_shared(DType::BF16, vec![2], bytes, 0..4)?;
/// assert!(x.dtype().is_float());
/// assert_eq!(x.to_f32(), [1.0, -2.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DType {
    F32,
    F16,
    BF16,
    I64,
    I32,
    I8,
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    /// Whether elements are floating-point numbers, as weights are.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }
}

/// Bytes that somebody else may own, such as a memory-mapped file.
///
/// ```
/// use seq2seq_core::{DType, HostTensor, host::SharedBytes};
/// use std::sync::Arc;
///
/// // Here a vector; a map of a file is as good. Tensors are ranges of it, and keep it alive.
/// let file: SharedBytes = Arc::new([1.0f32, 2.0, 3.0, 4.0, 5.0].map(f32::to_le_bytes).concat());
/// let bias = HostTensor::from_shared(DType::F32, vec![1], file.clone(), 0..4)?;
/// let weight = HostTensor::from_shared(DType::F32, vec![2, 2], file, 4..20)?;
/// assert_eq!((bias.to_f32(), weight.slice_rows(1..2)?.to_f32()), (vec![1.0], vec![4.0, 5.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Lets go of the memory behind a range of [`SharedBytes`] that has been read; who reads it again finds the same bytes.
pub type Release = Arc<dyn Fn(Range<usize>) + Send + Sync>;

/// A row-major tensor in host memory, owned or a view of shared bytes. Cloning shares the bytes.
///
/// ```
/// use seq2seq_core::{DType, HostTensor};
///
/// let x = HostTensor::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])?;
/// assert_eq!((x.dtype(), x.shape(), x.to_f32()), (DType::F32, &[2, 2][..], vec![1.0, 2.0, 3.0, 4.0]));
/// assert!(HostTensor::from_f32(vec![3], &[1.0]).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Clone)]
pub struct HostTensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: SharedBytes,
    range: Range<usize>,
    quantisation: Option<Quantisation>,
    name: Option<Arc<str>>,
    release: Option<Release>,
}

/// What the integers of a [`quantised`](HostTensor::quantised) matrix stand for.
///
/// ```
/// use seq2seq_core::{Backend, DType, Error, Format, HostTensor, LinearSpec, Quantisation, reference::Reference};
/// use std::sync::Arc;
///
/// let integers = HostTensor::from_shared(DType::I8, vec![2, 2], Arc::new([127, 1, 2, 127u8]), 0..4)?;
/// let scales = Arc::new([0.5, 2.0]);
/// let weight = HostTensor::quantised(integers, Quantisation::Channels { scales, axis: 0 })?;
/// assert_eq!(weight.to_f32(), [63.5, 0.5, 4.0, 254.0]); // a scale for each row
///
/// // They are packed as they are into the format that they are in, and into no other.
/// let spec = LinearSpec::single(weight, None);
/// Reference.pack(&spec, Format::Int8)?;
/// assert!(matches!(Reference.pack(&spec, Format::F32), Err(Error::Invalid { op: "pack", .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Quantisation {
    /// Values of [`Format::Int8`](crate::Format::Int8), of type I8, with one scale for each row (`axis` 0) or column
    /// (`axis` 1): value · scale, one f32 product, at most the largest f32.
    Channels {
        /// One for each channel.
        scales: Arc<[f32]>,
        /// The dimension along which the channels lie.
        axis: usize,
    },
    /// Codes of [`Format::Int4`](crate::Format::Int4), of type U8, a byte each: level · scale, one f32 product, at most
    /// the largest f32. Each row is a channel.
    Groups {
        /// `[rows, groups]`
        scales: Arc<[f32]>,
    },
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
        Ok(Self { dtype, shape, bytes, range, quantisation: None, name: None, release: None })
    }

    /// An owned f32 tensor. Fails when `values` is not `shape` elements long.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let range = 0..bytes.len();
        Self::from_shared(DType::F32, shape, Arc::new(bytes), range)
    }

    /// A matrix of integers with their scales; it reads as the numbers that they stand for.
    ///
    /// Where values and scales are what [`quant::channel::quantise`](crate::quant::channel::quantise) gave for each
    /// channel, quantising what is read gives the same values and scales to the bit: with a = max |v| the scale is
    /// s = a / 127 rounded, and the f32 nearest to 127 s is a, or one whose 127th part rounds to s as well. Of codes that
    /// is not so: whoever packs them takes them as they are.
    ///
    /// # Errors
    /// When `integers` is no matrix of the type that belongs to `quantisation`, holds what is no code, or the scales are
    /// not as many as there have to be.
    pub fn quantised(integers: Self, quantisation: Quantisation) -> Result<Self> {
        const OP: &str = "HostTensor";
        let (dtype, scales, count) = match (&quantisation, integers.shape()) {
            (Quantisation::Channels { scales, axis: axis @ (0 | 1) }, shape @ [_, _]) => {
                (DType::I8, scales, shape[*axis])
            }
            (Quantisation::Groups { scales }, &[rows, columns]) => {
                (DType::U8, scales, rows * group::groups(columns))
            }
            _ => {
                let reason = format!("{integers:?} cannot be quantised, expected a matrix");
                return Err(Error::invalid(OP, reason));
            }
        };
        if integers.dtype != dtype {
            let reason = format!("{integers:?} cannot be quantised, expected {dtype:?}");
            return Err(Error::invalid(OP, reason));
        }
        Error::expect(OP, "scales", count, scales.len())?;
        // The largest first: that is a loop of vectors, and which one it is need be found only where it is too large.
        let largest = || integers.bytes().iter().fold(0, |most: u8, &code| most.max(code));
        if dtype == DType::U8 && usize::from(largest()) >= group::LEVELS.len() {
            let codes = integers.bytes().iter().map(|&code| code.into());
            Error::check_range(OP, "code", codes, group::LEVELS.len())?;
        }
        Ok(Self { quantisation: Some(quantisation), ..integers })
    }

    /// What the integers of a [`quantised`](Self::quantised) matrix stand for.
    pub fn quantisation(&self) -> Option<&Quantisation> {
        self.quantisation.as_ref()
    }

    /// The same tensor under the name that its checkpoint has for it. The name is its identity in training: tensors of
    /// one name, such as a table that is also the output layer, are one parameter. Those without a name are not trained.
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The same tensor without a name.
    pub fn unnamed(self) -> Self {
        Self { name: None, ..self }
    }

    /// Its [`name`](Self::named); views of a part or of another shape have none.
    pub fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
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

    /// The same bytes under another shape of as many elements. Fails where there are scales, which belong to a shape.
    pub fn reshape(&self, shape: Vec<usize>) -> Result<Self> {
        if self.quantisation.is_some() {
            return Err(Error::invalid("reshape", "a quantised matrix has no other shape"));
        }
        let release = self.release.clone();
        let reshaped =
            Self::from_shared(self.dtype, shape, self.bytes.clone(), self.range.clone())?;
        Ok(Self { release, ..reshaped })
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
        let slice = Self::from_shared(self.dtype, shape, self.bytes.clone(), range)?;
        let quantisation = self.quantisation.as_ref().map(|q| q.slice_rows(rows, all));
        Ok(Self { quantisation, release: self.release.clone(), ..slice })
    }

    /// The same tensor, whose shared bytes `release` lets go of where they have been read
    /// ([`release_rows`](Self::release_rows)).
    ///
    /// ```
    /// use seq2seq_core::{DType, HostTensor};
    /// use std::sync::{Arc, Mutex};
    ///
    /// // Of a mapped file these would be pages for the system to take back.
    /// let released = Arc::new(Mutex::new(Vec::new()));
    /// let note = released.clone();
    /// let x = HostTensor::from_shared(DType::U8, vec![3, 2], Arc::new([0u8; 8]), 2..8)?
    ///     .with_release(Arc::new(move |range| note.lock().unwrap().push(range)));
    /// x.release_rows(1..3);
    /// assert_eq!(*released.lock().unwrap(), [4..8]);
    /// # Ok::<(), seq2seq_core::Error>(())
    /// ```
    pub fn with_release(self, release: Release) -> Self {
        Self { release: Some(release), ..self }
    }

    /// Says that rows along the outermost dimension have been read and will hardly be read again. A hint: nothing happens where
    /// nobody knows how to let go of them, or there are no such rows.
    pub fn release_rows(&self, rows: Range<usize>) {
        let (Some(release), Some(&all)) = (&self.release, self.shape.first()) else { return };
        if rows.start < rows.end && rows.end <= all {
            let row = self.range.len() / all;
            let start = self.range.start;
            release(start + rows.start * row..start + rows.end * row);
        }
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
            DType::I8 => each(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
            DType::U8 => each(bytes, out, |[b]| f32::from(b)),
        }
        if let Some(quantisation) = &self.quantisation {
            quantisation.apply(start, self.shape[1], out);
        }
    }

    /// All elements as f32, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        self.read_f32(0, &mut out);
        out
    }
}

impl Quantisation {
    /// That of some of `all` rows.
    fn slice_rows(&self, rows: Range<usize>, all: usize) -> Self {
        match self {
            Self::Channels { scales, axis: 0 } => {
                Self::Channels { scales: scales[rows].into(), axis: 0 }
            }
            Self::Channels { .. } => self.clone(),
            Self::Groups { scales } => {
                let groups = scales.len() / all.max(1);
                Self::Groups { scales: scales[rows.start * groups..rows.end * groups].into() }
            }
        }
    }

    /// Makes integers of a matrix of `width` columns, from element `start` on, what they stand for.
    fn apply(&self, start: usize, width: usize, out: &mut [f32]) {
        let (mut row, mut column) = (start / width.max(1), start % width.max(1));
        let mut rest = out;
        while !rest.is_empty() {
            let (run, next) = rest.split_at_mut(rest.len().min(width - column));
            match self {
                Self::Channels { scales, axis: 0 } => {
                    run.iter_mut().for_each(|v| *v *= scales[row])
                }
                Self::Channels { scales, .. } => {
                    run.iter_mut().zip(&scales[column..]).for_each(|(v, s)| *v *= s);
                }
                Self::Groups { scales } => {
                    let scales = &scales[row * group::groups(width)..];
                    for (k, v) in run.iter_mut().enumerate() {
                        let level = f32::from(group::LEVELS[*v as usize]);
                        *v = level * scales[(column + k) / group::GROUP];
                    }
                }
            }
            // Where the largest f32 was quantised, rounding may take 127 times its scale to infinity.
            run.iter_mut().for_each(|v| *v = v.clamp(f32::MIN, f32::MAX));
            (row, column, rest) = (row + 1, 0, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant;
    use half::{bf16, f16};

    /// What README says of checkpoints of bf16 in f16.
    #[test]
    fn f16_holds_what_bf16_holds_but_for_the_smallest() {
        for x in (0..=u16::MAX).map(|bits| bf16::from_bits(bits).to_f32()) {
            let error = f64::from(f16::from_f32(x).to_f32()) - f64::from(x);
            match x.abs() {
                7.6294e-6..=65504.0 => assert_eq!(error, 0.0, "{x}"),
                0.0..7.6294e-6 => assert!(error.abs() < 3e-8, "{x}"),
                // Refused, and no numbers.
                _ => {}
            }
        }
    }

    fn bytes(shape: Vec<usize>, values: &[i8]) -> HostTensor {
        let bytes: Vec<u8> = values.iter().map(|&v| v as u8).collect();
        let n = bytes.len();
        HostTensor::from_shared(DType::I8, shape, Arc::new(bytes), 0..n).unwrap()
    }

    fn channels(scales: &[f32], axis: usize) -> Quantisation {
        Quantisation::Channels { scales: scales.into(), axis }
    }

    #[test]
    fn codes_stand_for_levels_times_the_scale_of_their_group() {
        let codes: Vec<u8> = (0..2 * 34).map(|i| (i % 16) as u8).collect();
        let tensor = |codes: &[u8]| {
            let n = codes.len();
            HostTensor::from_shared(DType::U8, vec![2, 34], Arc::new(codes.to_vec()), 0..n).unwrap()
        };
        let groups = |scales: &[f32]| Quantisation::Groups { scales: scales.into() };
        let matrix = HostTensor::quantised(tensor(&codes), groups(&[2.0, 0.5, -1.0, 4.0])).unwrap();
        let scale = |at: usize| [2.0, 0.5, -1.0, 4.0][at / 34 * 2 + at % 34 / 32];
        let level = |at: usize| f32::from(group::LEVELS[at % 16]);
        let want: Vec<f32> = (0..68).map(|at| level(at) * scale(at)).collect();
        assert_eq!(matrix.to_f32(), want);
        assert_eq!(matrix.slice_rows(1..2).unwrap().to_f32(), want[34..]);
        let mut some = [0.0; 5];
        matrix.read_f32(30, &mut some);
        assert_eq!(some, want[30..35]);
        assert!(HostTensor::quantised(tensor(&codes), groups(&[1.0; 3])).is_err());
        assert!(HostTensor::quantised(tensor(&[16; 68]), groups(&[1.0; 4])).is_err());
        assert!(HostTensor::quantised(bytes(vec![1, 1], &[1]), groups(&[1.0])).is_err());
    }

    #[test]
    fn quantised_matrices_are_scaled_by_row_or_column() {
        let values = bytes(vec![2, 3], &[1, -2, 3, 4, 5, -127]);
        assert_eq!(values.to_f32(), [1., -2., 3., 4., 5., -127.]);
        let rows = HostTensor::quantised(values.clone(), channels(&[2.0, 0.5], 0)).unwrap();
        assert_eq!(rows.to_f32(), [2., -4., 6., 2., 2.5, -63.5]);
        assert_eq!(rows.slice_rows(1..2).unwrap().to_f32(), [2., 2.5, -63.5]);
        let columns = HostTensor::quantised(values.clone(), channels(&[1.0, 2.0, 4.0], 1)).unwrap();
        assert_eq!(columns.to_f32(), [1., -4., 12., 4., 10., -508.]);
        let mut some = [0.0; 3];
        columns.read_f32(2, &mut some);
        assert_eq!(some, [12., 4., 10.]);
        assert!(rows.reshape(vec![6]).is_err());
        assert!(HostTensor::quantised(values.clone(), channels(&[1.0; 3], 0)).is_err());
        assert!(HostTensor::quantised(values, channels(&[1.0; 2], 2)).is_err());
        let floats = HostTensor::from_f32(vec![1, 1], &[1.0]).unwrap();
        assert!(HostTensor::quantised(floats, channels(&[1.0], 0)).is_err());
    }

    /// Every largest magnitude of one binade: the others are the same times a power of two, but for the ends.
    #[test]
    fn every_scale_survives_being_read_and_quantised_again() {
        let binade = 1.0f32.to_bits()..2.0f32.to_bits();
        let ends = [
            quant::TINY.to_bits()..quant::TINY.to_bits() + 4096,
            f32::MAX.to_bits() - 4096..f32::MAX.to_bits() + 1,
        ];
        let one = bytes(vec![1, 1], &[127]);
        let check = |a: f32, read: &dyn Fn(f32) -> f32| {
            let (scale, _) = quant::channel::scale_and_inverse(a);
            assert_eq!(quant::channel::scale_and_inverse(read(scale)).0, scale, "{a:e}");
        };
        binade.for_each(|bits| check(f32::from_bits(bits), &|scale| 127.0 * scale));
        let read =
            |scale| HostTensor::quantised(one.clone(), channels(&[scale], 0)).unwrap().to_f32()[0];
        ends.into_iter().flatten().for_each(|bits| check(f32::from_bits(bits), &read));
    }

    #[test]
    fn every_value_survives_being_read_and_quantised_again() {
        let all: Vec<i8> = (-127..=127).collect();
        for step in 0..40_000 {
            let a = f32::from_bits(127 << 23 | (step * 209));
            let (scale, _) = quant::channel::scale_and_inverse(a);
            let matrix =
                HostTensor::quantised(bytes(vec![1, 255], &all), channels(&[scale], 0)).unwrap();
            let mut again = vec![0; 255];
            assert_eq!(quant::channel::quantise(&matrix.to_f32(), &mut again), scale);
            assert_eq!(again, all, "{a:e}");
        }
    }

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
