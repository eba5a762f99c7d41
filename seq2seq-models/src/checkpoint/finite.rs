//! Whether all weights are numbers, and whether a format can hold them.

use half::{bf16, f16};
use seq2seq_core::{DType, Format, HostTensor};

/// Bytes that are looked at before they are let go of.
const PIECE: usize = 1 << 20;

/// The first element that is NaN or infinite, and its value.
///
/// Looks at the exponent bits in place: nothing is converted or copied, and of a mapped file a piece at a time is in memory.
pub(crate) fn first_not_finite(tensor: &HostTensor) -> Option<(usize, f32)> {
    let bytes = tensor.bytes();
    let rows = tensor.shape().first().copied().unwrap_or(1).max(1);
    let row = bytes.len() / rows;
    let step = (PIECE / row.max(1)).max(1);
    let at = (0..rows).step_by(step).find_map(|from| {
        let to = (from + step).min(rows);
        let found = first_in(tensor.dtype(), &bytes[from * row..to * row]);
        tensor.release_rows(from..to);
        found.map(|at| from * row / tensor.dtype().size() + at)
    })?;
    let mut value = [0.0];
    tensor.read_f32(at, &mut value);
    Some((at, value[0]))
}

fn first_in(dtype: DType, bytes: &[u8]) -> Option<usize> {
    match dtype {
        DType::F32 => first(bytes, |b: [u8; 4]| u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000),
        DType::F16 => first(bytes, |b: [u8; 2]| u16::from_le_bytes(b) & 0x7c00 == 0x7c00),
        DType::BF16 => first(bytes, |b: [u8; 2]| u16::from_le_bytes(b) & 0x7f80 == 0x7f80),
        DType::I64 | DType::I32 | DType::I8 | DType::U8 => None,
    }
}

/// The first element, a number, that `format` rounds to infinity, and its value.
pub(crate) fn first_beyond(tensor: &HostTensor, format: Format) -> Option<(usize, f32)> {
    let beyond: fn(f32) -> bool = match format {
        Format::Bf16 => |v| bf16::from_f32(v).is_infinite(),
        Format::F16 => |v| f16::from_f32(v).is_infinite(),
        // Of integers the scales are no smaller than f32.
        Format::F32 | Format::Int8 | Format::Int4 => return None,
    };
    const RUN: usize = 4096;
    let mut values = [0.0; RUN];
    for from in (0..tensor.len()).step_by(RUN) {
        let run = &mut values[..RUN.min(tensor.len() - from)];
        tensor.read_f32(from, run);
        if let Some(at) = run.iter().position(|&v| v.is_finite() && beyond(v)) {
            return Some((from + at, run[at]));
        }
    }
    None
}

/// The first element for which `bad` holds. Whole blocks are tested without a branch, so that the loop vectorises.
fn first<const N: usize>(bytes: &[u8], bad: impl Fn([u8; N]) -> bool) -> Option<usize> {
    const BLOCK: usize = 1024;
    let elements = bytes.as_chunks::<N>().0;
    elements
        .chunks(BLOCK)
        .position(|block| block.iter().fold(false, |any, &b| any | bad(b)))
        .and_then(|block| {
            let start = block * BLOCK;
            elements[start..].iter().position(|&b| bad(b)).map(|at| start + at)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn finds_the_first_in_every_type() {
        for (at, bad) in [(0, f32::NAN), (1023, f32::INFINITY), (2500, f32::NEG_INFINITY)] {
            let mut v = vec![f32::from(f16::MAX); 3000];
            v[at] = bad;
            v[2999] = bad;
            let halves =
                |f: &dyn Fn(f32) -> [u8; 2]| v.iter().flat_map(|&x| f(x)).collect::<Vec<_>>();
            let tensors = [
                HostTensor::from_f32(vec![3000], &v).unwrap(),
                shared(DType::F16, halves(&|x| f16::from_f32(x).to_le_bytes())),
                shared(DType::BF16, halves(&|x| bf16::from_f32(x).to_le_bytes())),
            ];
            for t in tensors {
                let (found, value) = first_not_finite(&t).unwrap();
                assert_eq!((found, value.is_nan()), (at, bad.is_nan()), "{t:?}");
            }
        }
    }

    /// However many pieces there are, and whatever a row is; what was looked at is let go of, each row once.
    #[test]
    fn looks_piece_by_piece() {
        use std::sync::Mutex;
        for shape in [vec![2_000, 300], vec![600_000], vec![1, 600_000], vec![0, 5], vec![5, 0]] {
            let count: usize = shape.iter().product();
            let mut values = vec![0f32; count];
            let bytes = |values: &[f32]| {
                Arc::new(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
            };
            let tensor = |values: &[f32]| {
                HostTensor::from_shared(DType::F32, shape.clone(), bytes(values), 0..4 * count)
                    .unwrap()
            };
            let released = Arc::new(Mutex::new(0));
            let sum = released.clone();
            let whole = tensor(&values)
                .with_release(Arc::new(move |range| *sum.lock().unwrap() += range.len()));
            assert_eq!(first_not_finite(&whole), None);
            assert_eq!(*released.lock().unwrap(), 4 * count, "{shape:?}");
            for at in [599_999, 300_000, 0].into_iter().filter(|&at| at < count) {
                values[at] = f32::INFINITY;
                assert_eq!(
                    first_not_finite(&tensor(&values)),
                    Some((at, f32::INFINITY)),
                    "{shape:?}"
                );
            }
        }
    }

    #[test]
    fn large_and_tiny_numbers_are_numbers() {
        let t = HostTensor::from_f32(vec![3], &[f32::MAX, -f32::MIN_POSITIVE, 0.0]).unwrap();
        assert_eq!(first_not_finite(&t), None);
    }

    #[test]
    fn finds_the_first_that_a_format_cannot_hold() {
        let mut v = vec![65519.0; 9000];
        for (at, bad) in [(8999, f32::MAX), (5000, -65520.0), (4095, f32::NAN)] {
            v[at] = bad;
        }
        let t = HostTensor::from_f32(vec![9000], &v).unwrap();
        assert_eq!(first_beyond(&t, Format::F16), Some((5000, -65520.0)));
        assert_eq!(first_beyond(&t, Format::Bf16), Some((8999, f32::MAX)));
        assert_eq!(first_beyond(&t, Format::Int8), None);
    }

    fn shared(dtype: DType, bytes: Vec<u8>) -> HostTensor {
        let n = bytes.len();
        HostTensor::from_shared(dtype, vec![n / 2], Arc::new(bytes), 0..n).unwrap()
    }
}
